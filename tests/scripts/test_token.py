"""Tests of `./scripts/token` against a running system."""

import json
import stat
import urllib.request
from pathlib import Path

import pytest

from scripts.commands.token import main as token
from scripts.devstack.people import PEOPLE, ROLES
from scripts.devstack.progress import SetupError, output
from tests.conftest import System

LOCAL = {
    "environment": "development",
    "api": "http://127.0.0.1:8000",
    "database_direct_url": "postgresql://postgres@/companon?host=/tmp/pg/socket",
}


@pytest.fixture
def run_file(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the description of the running system as if it ran for development."""
    monkeypatch.setattr(output, "streams", [])
    path = tmp_path / "run.json"
    path.write_text(json.dumps(system.run | {"environment": "development"}))
    return path


def me(system: System, access_token: str) -> dict:
    request = urllib.request.Request(
        f"{system.api}/api/v1/users/me", headers={"Authorization": f"Bearer {access_token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Run the command. Return the token and the text beside it."""
    assert token.main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    (access_token,) = out.splitlines()
    return access_token, err


def test_token_of_each_role_signs_in_as_that_role(system, run_file, capsys):
    people = {role: me(system, printed(capsys, "--run", run_file, "--as", role)[0]) for role in ROLES}

    assert {role: person["role"] for role, person in people.items()} == {role: role for role in ROLES}
    members = ("Creator", "Campaign Manager", "Brand Admin")
    assert len({people[role]["brand_id"] for role in members}) == 1
    assert people["Brand Admin"]["brand_id"] is not None


def test_second_token_of_a_role_is_of_the_same_person(system, run_file, capsys):
    first, text = printed(capsys, "--run", run_file, "--as", "fan")
    second, _ = printed(capsys, "--run", run_file, "--as", "FAN")
    email = me(system, first)["email"]
    third, _ = printed(capsys, "--run", run_file, "--as", email)

    assert me(system, first)["id"] == me(system, second)["id"] == me(system, third)["id"]
    assert f"Access token of {email}" in text
    assert stat.S_IMODE((run_file.parent / PEOPLE).stat().st_mode) == 0o600


def test_token_of_unknown_role_is_refused_with_the_known_ones(run_file):
    with pytest.raises(SetupError, match="--as must be fan, creator, campaign-manager, brand-admin, system-admin, or"):
        token.main(["--run", str(run_file), "--as", "boss"])


def test_token_without_running_system_names_the_command(tmp_path):
    with pytest.raises(SetupError, match=r"start one with \./scripts/up"):
        token.main(["--run", str(tmp_path / "run.json")])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"environment": "production"}, "ENVIRONMENT=production"),
        ({"environment": "test"}, "ENVIRONMENT=test"),
        ({"api": "https://api.companon.example"}, "not on this machine: sign in there"),
        ({"database_direct_url": "postgresql://postgres@db.companon.example/companon"}, r"The database is at 'db\."),
        ({"database_direct_url": "postgresql:///companon?host=db.companon.example"}, r"The database is at 'db\."),
    ],
)
def test_token_is_refused_outside_of_local_development(changes, reason):
    token.require_local(LOCAL)
    token.require_local(LOCAL | {"database_direct_url": "postgresql://postgres@localhost:5432/companon"})

    with pytest.raises(SetupError, match=reason):
        token.require_local(LOCAL | changes)


def test_system_of_the_tests_gives_no_token(system):
    with pytest.raises(SetupError, match="ENVIRONMENT=test"):
        token.main(["--run", str(system.var / "run.json")])
