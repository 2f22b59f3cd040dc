"""Test MFA that a brand requires of its members."""

from datetime import UTC, datetime, timedelta

import pytest

from models.core import context
from models.core.database import execute, transaction
from models.core.errors import Problem
from models.identity import access_tokens, totp
from models.tenants import members

pytestmark = pytest.mark.usefixtures("fresh_limits")

ME = "/api/v1/users/me"
MFA = "/api/v1/users/me/mfa"


def login(client, account):
    """Sign in with the password only and return the session."""
    credentials = {"email": account.email, "password": account.password}
    return client.post("/api/v1/auth/login", json=credentials).json


def verify(client, token, **proof):
    return client.post("/api/v1/auth/mfa/verify", json=proof, token=token)


def one(superuser, sql):
    with superuser.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def demand(client, account, brand, at):
    """Require MFA in the brand `at` seconds from now; None lifts the requirement."""
    when = None if at is None else (datetime.now(UTC) + timedelta(seconds=at)).isoformat()
    return client.patch(f"/api/v1/brands/{brand['id']}", json={"mfa_required_from": when}, token=account.token)


@pytest.fixture
def session(client, member):
    """Return a member without an authenticator and the member's session."""
    creator = member("Creator")
    return creator, login(client, creator)


def test_members_of_brand_demanding_mfa_have_to_enrol(client, admin, brand, session, enrolled):
    creator, begun = session
    url = f"/api/v1/brands/{brand['id']}"
    assert client.get(url, token=begun["access_token"]).status_code == 200

    assert demand(client, admin, brand, -1).json["mfa_required_from"]

    assert client.get(url, token=begun["access_token"]).json["code"] == "session_ended"
    assert client.get(url, token=enrolled[2]["access_token"]).status_code == 200
    renewed = client.post("/api/v1/auth/refresh", json={"refresh_token": begun["refresh_token"]}).json
    assert renewed["mfa_required"] == "enrol"
    refused = client.get(url, token=renewed["access_token"])
    assert (refused.status_code, refused.json["code"]) == (403, "mfa_required")
    assert login(client, creator)["mfa_required"] == "enrol"
    secret = client.post(MFA, token=renewed["access_token"]).json["secret"]
    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=renewed["access_token"]).json
    assert client.get(url, token=confirmed["access_token"]).status_code == 200
    removed = client.delete(MFA, token=confirmed["access_token"])
    assert (removed.status_code, removed.json["code"]) == (409, "mfa_mandatory")


def test_old_session_enrols_after_step_up_with_password(client, admin, brand, session, superuser):
    creator, begun = session
    demand(client, admin, brand, -1)
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")
    token = client.post("/api/v1/auth/refresh", json={"refresh_token": begun["refresh_token"]}).json["access_token"]
    refused = client.post(MFA, token=token)
    answers = [
        client.post("/api/v1/auth/step-up", json=body, token=token)
        for body in ({"code": "000000"}, {"password": "another password"}, {"password": creator.password})
    ]

    secret = client.post(MFA, token=token).json["secret"]
    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=token).json

    assert refused.json["code"] == "recent_authentication_required"
    assert [answer.status_code for answer in answers] == [403, 403, 204]
    assert [answer.json["code"] for answer in answers[:2]] == ["mfa_required", "wrong_password"]
    assert client.get(f"/api/v1/brands/{brand['id']}", token=confirmed["access_token"]).status_code == 200


def test_step_up_with_password_does_not_replace_owed_code(client, enrolled, superuser):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")

    for proof in ({"password": manager.password}, {"code": totp.code(secret)}):
        answer = client.post("/api/v1/auth/step-up", json=proof, token=token)
        assert (answer.status_code, answer.json["code"]) == (403, "mfa_required")

    raised = verify(client, token, code=totp.code(secret)).json["access_token"]
    assert client.post(MFA, token=raised).status_code == 201


def test_list_of_members_shows_has_mfa(client, member, brand, enrolled):
    boss = member("Brand Admin")

    listed = client.get(f"/api/v1/brands/{brand['id']}/members", token=boss.token).json["items"]

    assert {one["id"]: one["has_mfa"] for one in listed} == {
        str(enrolled[0].user_id): True,
        str(boss.user_id): False,
    }


def test_database_enforces_mfa_demand_for_older_tokens(client, admin, brand, session):
    creator, _ = session
    demand(client, admin, brand, -1)

    with pytest.raises(Problem) as refused, creator.acting():
        execute("SELECT 1")
    assert refused.value.code == "session_ended"
    pending = login(client, creator)["access_token"]
    with transaction(context.of_claims(access_tokens.verify(pending))):
        assert execute("SELECT id FROM public.brands") == 0


def test_members_without_mfa_are_admitted_until_it_is_required(client, admin, brand, session, superuser):
    creator, begun = session
    when = demand(client, admin, brand, 3600).json["mfa_required_from"]

    assert client.get(MFA, token=begun["access_token"]).json["required_from"] == when
    assert client.get(f"/api/v1/brands/{brand['id']}", token=begun["access_token"]).status_code == 200
    assert login(client, creator)["mfa_required"] is None
    with superuser.cursor() as cursor:
        cursor.execute("update brands set mfa_required_from = now() - interval '1 second'")
    assert client.get(ME, token=begun["access_token"]).json["code"] == "session_ended"


def test_lifted_mfa_demand_admits_members_without_mfa(client, admin, brand, session):
    creator, _ = session
    demand(client, admin, brand, -1)
    pending = login(client, creator)["refresh_token"]

    assert demand(client, admin, brand, None).json["mfa_required_from"] is None

    renewed = client.post("/api/v1/auth/refresh", json={"refresh_token": pending}).json
    assert renewed["mfa_required"] is None
    assert client.get(f"/api/v1/brands/{brand['id']}", token=renewed["access_token"]).status_code == 200


def test_mfa_demand_requires_recent_authentication_of_an_admin(client, brand, member, superuser):
    boss, manager = member("Brand Admin"), member("Campaign Manager")
    assert demand(client, manager, brand, 3600).status_code == 403
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")

    refused = demand(client, boss, brand, 3600)
    renamed = client.patch(f"/api/v1/brands/{brand['id']}", json={"name": "Acme"}, token=boss.token)

    assert (refused.status_code, refused.json["code"]) == (403, "recent_authentication_required")
    assert (renamed.status_code, renamed.json["mfa_required_from"]) == (200, None)
    superuser.cursor().execute("update app.sessions set authenticated_at = now()")
    assert demand(client, boss, brand, 3600).status_code == 200
    (details,) = one(
        superuser, "select details from audit_logs where action = 'brand.update' order by timestamp desc limit 1"
    )
    assert details["before"] == {"mfa_required_from": None}
    assert set(details["after"]) == {"mfa_required_from"}


def test_members_without_mfa_are_mailed_about_the_demand(
    client, brand, member, make_brand, enrolled, drain, mailbox, superuser
):
    boss, ana, suspended = member("Brand Admin"), member("Creator"), member()
    stranger = member("Creator", make_brand("Other"))
    drain()
    mailbox.messages.clear()
    with superuser.cursor() as cursor:
        cursor.execute("update users set locale = 'es', timezone = 'Europe/Madrid' where id = %s", (ana.user_id,))
        cursor.execute("update users set suspended_at = now() where id = %s", (suspended.user_id,))
    body = {"mfa_required_from": "2036-12-01T08:00:00Z"}

    assert client.patch(f"/api/v1/brands/{brand['id']}", json=body, token=boss.token).status_code == 200
    drain()

    assert "From 1 December 2036 at 08:00 (UTC) on" in mailbox.text(boss.email)
    assert mailbox.to(ana.email)[0]["Subject"] == f"{brand['name']} pide un segundo factor"
    assert "A partir del 1 de diciembre de 2036 a las 09:00 (Europe/Madrid)" in mailbox.text(ana.email)
    assert [mailbox.to(one.email) for one in (suspended, stranger, enrolled[0])] == [[], [], []]


def test_member_enrolled_before_the_mail_gets_none(client, admin, brand, session, drain, mailbox):
    creator, begun = session
    demand(client, admin, brand, 3600)
    secret = client.post(MFA, token=begun["access_token"]).json["secret"]
    client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=begun["access_token"])

    drain()

    assert [letter["Subject"] for letter in mailbox.to(creator.email)] == [
        "An authenticator has been added to your account"
    ]


def test_unchanged_or_lifted_mfa_demand_sends_no_mail(client, brand, member, drain, mailbox):
    boss, ana = member("Brand Admin"), member("Creator")
    for seconds in range(1, members.MAX_ANNOUNCEMENTS_PER_DAY + 1):
        assert demand(client, boss, brand, seconds * 3600).status_code == 200
        drain()
    url = f"/api/v1/brands/{brand['id']}"

    refused = demand(client, boss, brand, 60)
    again = {"mfa_required_from": client.get(url, token=boss.token).json["mfa_required_from"]}
    stays = client.patch(url, json=again, token=boss.token)
    ends = demand(client, boss, brand, None)
    drain()

    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert (stays.status_code, ends.status_code) == (200, 200)
    assert len(mailbox.to(ana.email)) == members.MAX_ANNOUNCEMENTS_PER_DAY
