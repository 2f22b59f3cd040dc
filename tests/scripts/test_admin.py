"""`./scripts/admin`: the first System Admin, further ones, and an admin who has lost the authenticator."""

import io
import subprocess
import sys
from dataclasses import replace

import pyotp
import pytest

from scripts.commands.admin import commands
from scripts.devstack import progress
from scripts.devstack.environment import ROOT
from settings import settings

EMAIL = "first@companon.example"
PASSWORD = "correct horse battery"
NEW_PASSWORD = "another horse entirely"


@pytest.fixture
def run(db_clean, monkeypatch):
    """Return a function that runs a command in this process and returns its exit status and output."""

    def run(*arguments, entered=""):
        printed = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(progress.output, "streams", [printed])
            patch.setattr(sys, "stdin", io.StringIO(f"{entered}\n"))
            return commands.main([*arguments]), printed.getvalue()

    return run


def login(client, password=PASSWORD, email=EMAIL):
    return client.post("/api/v1/auth/login", json={"email": email, "password": password})


def enrol(client, token):
    """Enrol an authenticator and return the access token of the session that has completed MFA."""
    secret = client.post("/api/v1/users/me/mfa", token=token).json["secret"]
    code = pyotp.TOTP(secret).now()
    return client.post("/api/v1/users/me/mfa/confirm", json={"code": code}, token=token).json["access_token"]


def entries(superuser):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select l.action, v.contents #>> '{reason,value}' from public.audit_logs l"
            " join app.audit_personal_values v using (id)"
            " where l.action in ('account.ensure_admin', 'user.reset_mfa') order by l.timestamp"
        )
        return cursor.fetchall()


def mails(superuser):
    with superuser.cursor() as cursor:
        cursor.execute("select args ->> 1 from app.jobs where actor = 'mail.account_notice'")
        return [what for (what,) in cursor.fetchall()]


@pytest.mark.usefixtures("fresh_limits")
def test_first_admin_signs_in_and_enrols_an_authenticator(run, client, superuser):
    assert run("create", EMAIL, entered=PASSWORD)[0] == 0

    session = login(client).json
    assert session["mfa_required"] == "enrol"
    assert client.get("/api/v1/users", token=session["access_token"]).status_code == 403
    token = enrol(client, session["access_token"])
    assert client.get("/api/v1/users", token=token).status_code == 200
    assert run("list")[1].splitlines()[1].split() == [EMAIL, "active", "yes"]
    assert entries(superuser) == [("account.ensure_admin", "by the operator of the system")]


def test_creating_an_admin_twice_changes_nothing(run, client):
    run("create", EMAIL, entered=PASSWORD)

    status, said = run("create", EMAIL.upper(), entered=NEW_PASSWORD)

    assert (status, "nothing has changed" in said) == (0, True)
    assert login(client).status_code == 200


def test_several_admins_are_listed_by_address(run):
    for name in ("b", "a"):
        assert run("create", f"{name}@companon.example", entered=PASSWORD)[0] == 0

    rows = [line.split() for line in run("list")[1].splitlines()[1:]]
    assert rows == [["a@companon.example", "active", "no"], ["b@companon.example", "active", "no"]]


def test_generated_password_is_printed_and_valid(run, client):
    said = run("create", EMAIL, "--generate")[1]

    assert login(client, said.splitlines()[0].rpartition(" ")[2]).status_code == 200


def test_new_password_of_an_admin_ends_the_sessions_and_notifies(run, client, superuser):
    run("create", EMAIL, entered=PASSWORD)
    token = enrol(client, login(client).json["access_token"])

    assert run("password", EMAIL, entered=NEW_PASSWORD)[0] == 0

    assert client.get("/api/v1/users/me", token=token).status_code == 401
    assert [login(client, password).status_code for password in (PASSWORD, NEW_PASSWORD)] == [401, 200]
    assert "password_changed" in mails(superuser)


def test_reset_of_mfa_lets_the_last_admin_enrol_again(run, client, superuser):
    run("create", EMAIL, entered=PASSWORD)
    token = enrol(client, login(client).json["access_token"])

    assert run("reset-mfa", EMAIL, "--reason", "seen in person")[0] == 0

    assert client.get("/api/v1/users/me", token=token).status_code == 401
    assert login(client).json["mfa_required"] == "enrol"
    assert entries(superuser)[-1] == ("user.reset_mfa", "by the operator of the system: seen in person")
    assert "mfa_disabled" in mails(superuser)
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from app.recovery_codes")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", EMAIL), "password"),
        (("create", "no address"), "email"),
        (("password", EMAIL), "is not a System Admin"),
        (("reset-mfa", EMAIL, "--reason", "x"), "is not a System Admin"),
    ],
)
def test_impossible_command_says_why_and_changes_nothing(run, superuser, arguments, reason):
    status, said = run(*arguments, entered="short")

    assert status == 1
    assert said.startswith("✗ ")
    assert reason in said
    assert entries(superuser) == []


def test_member_does_not_become_an_admin(run, member):
    status, said = run("create", member().email, entered=PASSWORD)

    assert (status, said.startswith("✗ An account with this email address")) == (1, True)


def test_admin_without_authenticator_needs_no_reset(run):
    run("create", EMAIL, entered=PASSWORD)

    assert run("reset-mfa", EMAIL, "--reason", "x") == (1, "✗ The account has no authenticator.\n")


def test_supabase_mode_is_refused(run, monkeypatch):
    monkeypatch.setattr(commands, "settings", replace(settings, auth_mode="supabase"))

    assert run("create", EMAIL, entered=PASSWORD)[0] == 1


def test_command_is_a_process_of_the_system_that_the_environment_names(db_clean, client):
    command = [ROOT / "scripts" / "admin", "create", EMAIL]

    created = subprocess.run(command, input=f"{PASSWORD}\n", capture_output=True, text=True, check=False)

    assert (created.returncode, created.stderr) == (0, "")
    assert login(client).json["mfa_required"] == "enrol"
