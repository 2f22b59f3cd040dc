"""Tests of `./scripts/keys`: steps of a rotation, waiting times, and kept secrets."""

import base64
import dataclasses
import json
import subprocess
from types import SimpleNamespace

import pytest
from joserfc.jwk import ECKey

from models.audit import trail
from models.core import context
from models.core.database import transaction
from models.core.keys import active_version
from models.identity import access_tokens
from scripts.commands.keys import main, options
from scripts.commands.keys.roots import Roots
from scripts.commands.keys.token_keys import SPREAD, TokenKeys
from scripts.devstack import secrets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError
from scripts.devstack.secrets import new_root
from settings import settings
from tests.fixtures.audit import seal

NOW = 1_800_000_000


@pytest.fixture
def keys(tmp_path, monkeypatch, capsys):
    """Return `keys("add", at=NOW)`: it changes the keys of a new system and returns the standard output."""
    monkeypatch.setattr(secrets.time, "time", lambda: NOW - SPREAD)
    secrets.load_or_make(tmp_path / "secrets.json")
    monkeypatch.undo()

    def run(*argv, at=NOW):
        main.perform(options.parse([*argv, "--var", str(tmp_path)]), at)
        return capsys.readouterr().out

    run.path = tmp_path / "secrets.json"
    return run


def kids(keys):
    return [key["kid"] for key in json.loads(json.loads(keys.path.read_text())["auth_jwks"])["keys"]]


def test_new_key_is_promoted_only_after_the_waiting_time(keys):
    (first,) = kids(keys)
    keys("add")
    assert kids(keys)[0] == first

    with pytest.raises(SetupError, match="Verifiers may lack"):
        keys("promote", at=NOW + SPREAD - 1)
    keys("promote", at=NOW + SPREAD)

    assert kids(keys)[1] == first


def test_old_key_is_retired_only_after_its_last_token_expired(keys):
    (first,) = kids(keys)
    keys("add")
    keys("promote", at=NOW + SPREAD)
    over = NOW + 2 * SPREAD + access_tokens.LIFETIME

    with pytest.raises(SetupError, match="are valid until"):
        keys("retire", at=over - 1)
    keys("retire", at=over)

    assert first not in kids(keys)


def test_leaked_key_is_retired_at_once_with_force(keys):
    (leaked,) = kids(keys)
    keys("add")
    keys("promote", "--force")

    keys("retire", leaked[:10], "--force")

    assert leaked not in kids(keys)


def test_promotion_of_previous_key_undoes_a_promotion(keys):
    (first,) = kids(keys)
    keys("add")
    keys("promote", at=NOW + SPREAD)

    keys("promote", first, at=NOW + SPREAD + 60)

    assert kids(keys)[0] == first
    assert [line.split()[1] for line in keys("list").splitlines()[1:]] == ["signs", "verifies"]


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["promote"], "`add` one first"),
        (["retire"], "No key can be retired"),
        (["promote", "unknown"], "0 keys have an id"),
        (["promote", "--roots"], "already active"),
        (["retire", "--roots"], "Pass the version"),
        (["retire", "7", "--roots"], "no version 7"),
        (["retire", "1", "--roots", "--force"], "is active"),
    ],
)
def test_invalid_step_is_refused_and_changes_nothing(keys, argv, reason):
    before = keys.path.read_text()

    with pytest.raises(SetupError, match=reason):
        keys(*argv)

    assert keys.path.read_text() == before


def test_signing_key_is_not_retired_even_with_force(keys):
    with pytest.raises(SetupError, match="is the signing key"):
        keys("retire", kids(keys)[0], "--force")


def rename_newest(keys, kid):
    """Change the id of the newest key of the system."""
    known = json.loads(keys.path.read_text())
    jwks = json.loads(known["auth_jwks"])
    jwks["keys"][-1]["kid"] = kid
    keys.path.write_text(json.dumps(known | {"auth_jwks": json.dumps(jwks)}))


@pytest.mark.parametrize("given", ["-fw6Vs2Gza4QRIa1_qV9mtPjnF-z9h3MHvR3OUUbunQ", "-fw6", "-fw"])
def test_key_whose_id_begins_with_dash_is_promoted_and_retired(keys, given):
    (first,) = kids(keys)
    keys("add")
    rename_newest(keys, "-fw6Vs2Gza4QRIa1_qV9mtPjnF-z9h3MHvR3OUUbunQ")

    keys("promote", given, "--force")
    keys("promote", first, "--force")
    keys("retire", given, "--force")

    assert kids(keys) == [first]


def test_new_key_has_no_id_that_begins_with_dash(monkeypatch):
    made = []

    def generate(*args, **options):
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
        key.ensure_kid()
        # Whether a thumbprint begins with a dash is random.
        key._dict_value["kid"] = ("-" if len(made) < 3 else "k") + key.kid[1:]
        made.append(key.kid)
        return key

    monkeypatch.setattr(secrets, "ECKey", SimpleNamespace(generate_key=generate))

    assert secrets.new_key(NOW)["kid"] == made[-1]
    assert len(made) == 4


def test_list_shows_the_use_of_each_key_and_no_secret(keys):
    keys("add")

    printed = keys("list")

    assert [line.split()[1] for line in printed.splitlines()[1:]] == ["signs", "published"]
    held = json.loads(keys.path.read_text())
    assert all(key["d"] not in printed for key in json.loads(held["auth_jwks"])["keys"])
    assert held["secret_keys"].partition(":")[2] not in keys("list", "--roots")


def test_secrets_file_keeps_its_mode_and_content(keys):
    before = json.loads(keys.path.read_text())

    keys("add")

    after = json.loads(keys.path.read_text())
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert {name for name in before if before[name] != after[name]} == {"auth_jwks"}


def test_roots_are_appended_promoted_and_retired(keys):
    keys("add", "--roots")
    assert list(roots(keys)) == [1, 2]
    keys("promote", "--roots")
    assert list(roots(keys)) == [2, 1]

    with pytest.raises(SetupError, match="would become unreadable"):
        keys("retire", "1", "--roots")
    with pytest.raises(SetupError, match="can't be queried"):  # the system doesn't run
        keys("retire", "1", "--roots", "--force")
    assert list(roots(keys)) == [2, 1]
    keys("retire", "1", "--roots", "--force", "--abandon-seals")

    assert list(roots(keys)) == [2]
    assert len(base64.urlsafe_b64decode(roots(keys)[2] + "=")) == 32


def roots(keys):
    return Roots.read(json.loads(keys.path.read_text())["secret_keys"]).versions


def test_root_of_sealed_audit_entries_is_not_retired(db_clean, monkeypatch, capsys):
    with transaction(context.for_system_job()):
        trail.record("test.act")
    seal(None)
    own = active_version()
    made = f"98:{new_root()},{own}:{new_root()},99:{new_root()}"
    monkeypatch.setattr(main, "settings", dataclasses.replace(settings, secret_keys=made))

    def retire(version, *flags):
        argv = ["retire", str(version), "--roots", "--env", "--force", *flags]
        main.perform(options.parser().parse_args(argv), NOW)
        return list(Roots.read(capsys.readouterr().out.strip()).versions)

    with pytest.raises(SetupError, match=f"1 audit entries are sealed under version {own}: they could no longer"):
        retire(own)

    assert retire(99) == [98, own]
    assert retire(own, "--abandon-seals") == [98, 99]


def test_keys_with_env_print_only_the_new_value(monkeypatch, capsys):
    made = secrets.make()
    monkeypatch.setattr(main, "settings", dataclasses.replace(settings, auth_jwks=made.auth_jwks))

    main.perform(options.parser().parse_args(["add", "--env"]), NOW)

    printed = capsys.readouterr()
    assert TokenKeys.read(printed.out, NOW).keys[:-1] == json.loads(made.auth_jwks)["keys"]
    assert "to publish" in printed.err


@pytest.mark.parametrize("text", ["", "x", "{}", '{"keys": []}', '{"keys": [{"kid": "x"}]}', "[]"])
def test_malformed_key_set_is_refused(text):
    with pytest.raises(SetupError, match="AUTH_JWKS"):
        TokenKeys.read(text, NOW)


def test_keys_without_system_fail_and_name_the_directory(tmp_path):
    ended = subprocess.run(
        [ROOT / "scripts" / "keys", "list", "--var", tmp_path], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "No system in" in ended.stdout
