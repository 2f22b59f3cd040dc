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
from scripts.devstack.environment import ROOT
from settings import PROCESSES, Settings

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

    assert url == "${AUDIT_CHECKPOINT_URL:-" + Settings().audit_checkpoint_url + "}"
    assert SERVICES["seal"]["volumes"] == [f"checkpoints:{folder}"]
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


def test_servers_require_passwords_on_an_internal_network():
    known = subprocess.run(
        [sys.executable, "-m", "scripts.devstack.secrets"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    made = dict(line.split("=", 1) for line in known.splitlines())
    asked = set(re.findall(r"\$\{(\w+_PASSWORD):\?", (ROOT / "compose.yaml").read_text()))

    assert asked == {name for name in made if name.endswith("_PASSWORD")}
    assert len(set(made.values())) == len(made)
    assert SERVICES["postgres"]["environment"]["POSTGRES_HOST_AUTH_METHOD"] == "scram-sha-256"
    assert "requirepass" in str(SERVICES["redis"]["command"])
    assert COMPOSE["networks"]["servers"] == {"internal": True}
    assert [SERVICES[name]["networks"] for name in ("postgres", "redis", "logins", "release")] == [["servers"]] * 4
    assert set(PROCESSES) <= SERVICES.keys()
