"""Tests of the Dockerfile and compose.yaml without Docker: their settings, and checkpoints in the image's folders."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from jobs.audit.stores import by_url
from models.operations.settings_check import find_faults, unused_secrets
from scripts.devstack.environment import ROOT
from settings import PROCESSES, Settings, load, variables

NOBODY = 65_534
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def layout():
    """Return a folder with the directories of the image and their owners."""
    folder = Path(tempfile.mkdtemp(prefix="companon-image-"))
    folder.chmod(0o755)
    install = shlex.split(re.search(r"(install -d [^\n&]+)", DOCKERFILE)[1])
    owner = str(NOBODY if os.geteuid() == 0 else os.geteuid())
    subprocess.run([owner if word == "companon" else word for word in install], cwd=folder, check=True)
    if os.geteuid() != 0:
        folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(function):
    """Call a function in an unprivileged child process. Return the exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            function()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_default_store_in_image_layout_takes_checkpoint_of_other_user(layout, monkeypatch):
    monkeypatch.setattr(by_url, "ROOT", layout)
    store = by_url.store_at(Settings().audit_checkpoint_url)

    assert as_nobody(lambda: store.put(1, "a document")) == 0

    assert store.get(1) == "a document"
    assert (layout / "var" / "checkpoints").stat().st_mode & 0o777 == 0o700


def test_seal_keeps_checkpoints_in_volume_of_image_user():
    folder = f"{re.search(r'WORKDIR (.+)', DOCKERFILE)[1]}/var/checkpoints"
    url = SERVICES["seal"]["environment"]["AUDIT_CHECKPOINT_URL"]

    assert url.startswith("${AUDIT_CHECKPOINT_URL:?")
    assert f"checkpoints:{folder}" in SERVICES["seal"]["volumes"]
    assert f"VOLUME {folder}" in DOCKERFILE
    assert "checkpoints" in COMPOSE["volumes"]
    assert DOCKERFILE.index("install -d") < DOCKERFILE.index("USER companon") < DOCKERFILE.index("VOLUME")


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_read_only_root_and_no_capabilities(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service or name == "postgres"
    assert not any(port for port in service.get("ports", []) if not port.startswith("127.0.0.1:"))


def made_secrets():
    """Return the secrets that the first step of the installation writes to `.env`."""
    known = subprocess.run(
        [sys.executable, "-m", "scripts.devstack.secrets"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in known.splitlines())


def environment_of(service, known):
    """Return the environment of a service with variables replaced, as Docker Compose does it."""

    def replaced(match):
        name, operator, rest = match.groups()
        return known.get(name) or ("" if operator == ":?" else rest)

    texts = {name: str(text) for name, text in SERVICES[service].get("environment", {}).items()}
    return {name: re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", replaced, text) for name, text in texts.items()}


def test_servers_require_passwords_and_have_no_network():
    made = made_secrets()
    asked = set(re.findall(r"\$\{(\w+_PASSWORD):\?", (ROOT / "compose.yaml").read_text()))
    server = SERVICES["postgres"]["environment"]

    assert asked == {name for name in made if name.endswith("_PASSWORD")}
    assert len(set(made.values())) == len(made)
    assert server["POSTGRES_HOST_AUTH_METHOD"] == "scram-sha-256"
    assert server["POSTGRES_INITDB_ARGS"].split() == ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]
    assert "requirepass" in str(SERVICES["redis"]["command"])
    assert "--port 0" in str(SERVICES["redis"]["command"])
    with_network = {name for name, service in SERVICES.items() if service.get("network_mode") != "none"}
    assert with_network == {"web", "worker-outward", "seal"}
    assert set(PROCESSES) <= SERVICES.keys()


OPERATOR = {
    "PUBLIC_URL": "https://api.companon.com",
    "SMTP_URL": "smtp://mailer:Jx2-hos7-Nd5w-i9r@mail.internal:587",
    "MAIL_FROM": "Compañon <no-reply@companon.com>",
    "AUDIT_CHECKPOINT_URL": "s3://companon-audit/production?region=eu-central-1&lock_days=3650",
}
"""Variables that the operator adds to the made secrets."""


def test_each_service_has_fit_settings_of_production_and_no_others():
    made = made_secrets()
    known = {name: text.strip("'") for name, text in made.items()} | OPERATOR

    for process in PROCESSES:
        environ = environment_of(process, known)
        loaded = load(environ)
        assert loaded.environment == "production"
        assert (process, list(find_faults(loaded, process))) == (process, [])
        assert set(environ) - variables(process) == set(), process
        assert unused_secrets(loaded, process) == []
        mounted = [volume.partition(":")[2] for volume in SERVICES[process]["volumes"]]
        assert all("/run/companon" in environ[name] for name in environ if name.startswith(("DATABASE_", "REDIS_")))
        assert "/run/companon" in mounted


def test_service_without_a_value_of_the_operator_does_not_start():
    text = (ROOT / "compose.yaml").read_text()

    assert {name for name in OPERATOR if f"${{{name}:?" not in text} == set()


def test_admin_service_runs_the_command_with_the_login_of_the_owner():
    known = {name: text.strip("'") for name, text in made_secrets().items()} | OPERATOR
    admin = SERVICES["admin"]
    environ = environment_of("admin", known)

    assert admin["profiles"] == ["admin"]
    assert list(find_faults(load(environ), "release")) == []
    command = [sys.executable, *admin["entrypoint"][1:], "--help"]
    shown = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (shown.returncode, "reset-mfa" in shown.stdout) == (0, True)
    assert {"DATABASE_DIRECT_URL", "SECRET_KEYS"} <= environ.keys()
