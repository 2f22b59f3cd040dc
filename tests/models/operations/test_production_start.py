"""Tests that processes of production start with their own settings only, and refuse settings that are not fit."""

import http.client
import json
import os
import re
import signal
import subprocess
from contextlib import closing, suppress

import pytest

from models.operations.settings_check import find_faults
from scripts.devstack import processes, procfile
from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.sockets import free_port
from settings import PROCESSES, VERSION, Settings, settings, variables
from tests.models.operations.test_settings_check import COMMANDS, FIT
from tests.support.brokers import until
from tests.support.servers import LOGINS


def bare() -> dict[str, str]:
    """Return the environment of the tests without the variables of the settings."""
    path = f"{VENV / 'bin'}:{os.environ['PATH']}"
    return {name: text for name, text in os.environ.items() if name not in variables()} | {"PATH": path}


@pytest.mark.parametrize("process", PROCESSES)
def test_process_with_unfit_settings_does_not_start(process):
    environment = bare() | {"ENVIRONMENT": "production"}

    ended = subprocess.run(
        procfile.argv(COMMANDS[process]),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert ended.returncode != 0
    faults = list(find_faults(Settings(environment="production"), process))
    # Each process of the worker prints the faults, and their lines may be mixed.
    assert set(re.findall(r"^  [A-Z_]+", ended.stderr, re.MULTILINE)) == {re.match("  [A-Z_]+", f)[0] for f in faults}
    assert "Traceback" not in ended.stderr


@pytest.fixture
def own(redis_url, tmp_path):
    """Return a function that returns the environment of a production process: its own variables only."""
    known = {name: os.environ[name] for name in LOGINS} | {
        "REDIS_URL": redis_url,
        "SECRET_KEYS": settings.secret_keys,
        "AUTH_JWKS": settings.auth_jwks,
        "AUDIT_CHECKPOINT_URL": "https://127.0.0.1:9/checkpoints",
        "AUDIT_CHECKPOINT_KEYS": FIT.audit_checkpoint_keys,
        "STORAGE_URL": FIT.storage_url,
        "PUBLIC_URL": FIT.public_url,
        "SMTP_URL": FIT.smtp_url.replace("mail.internal:587", "127.0.0.1:9"),
        "MAIL_FROM": FIT.mail_from,
        "METRICS_TOKEN": FIT.metrics_token,
        "TRUSTED_PROXIES": "1",
        "ENVIRONMENT": "production",
        "PORT": str(free_port()),
        "WEB_CONCURRENCY": "1",
        "WORKER_PROCESSES": "1",
        "WORKER_THREADS": "2",
    }
    return lambda process: bare() | {name: known[name] for name in variables(process) & known.keys()}


@pytest.fixture
def begin(own, tmp_path):
    """Return a function that starts a process until the end of the test and returns the file of its output."""
    started = []

    def start(name):
        with (tmp_path / name).open("wb") as output:
            argv = procfile.argv(COMMANDS[name])
            started.append(processes.spawn(argv, env=own(name), cwd=ROOT, output=output))
        return tmp_path / name

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port, path, token):
    """Return the status of an answer of the web process; None without an answer."""
    head = {"Host": "api.companon.com", "Authorization": f"Bearer {token}"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
        try:
            connection.request("GET", path, headers=head)
            return connection.getresponse().status
        except (ConnectionRefusedError, ConnectionResetError):
            return None


def test_each_production_process_runs_with_its_own_secrets_only(db_clean, own, begin, superuser):
    release = subprocess.run(
        procfile.argv(COMMANDS["release"]), cwd=ROOT, env=own("release"), capture_output=True, text=True, check=False
    )
    logs = [begin(name) for name in PROCESSES if name != "release"]
    port = int(own("web")["PORT"])

    def sealed():
        with superuser.cursor() as cursor:
            cursor.execute("select count(*) from public.audit_logs where outcome = 'refused' and seq is not null")
            return cursor.fetchone() != (0,)

    with superuser.cursor() as cursor:
        cursor.execute("insert into app.jobs (id, actor, due_at) values (gen_random_uuid(), 'requests.expire', now())")
    (worker,) = [log for log in logs if log.name == "worker"]

    until(lambda: '"message":"requests.expire done"' in worker.read_text())
    until(lambda: ask(port, "/api/v1/users/me", "none of ours") == 401)  # The refusal is recorded in the audit trail.
    until(sealed)  # The seal process has the key and seals the entry.
    for log in logs:
        until(lambda log=log: f'"message":"{log.name} starts"' in log.read_text())

    assert (release.returncode, release.stdout) == (0, "Nothing to migrate\n"), release.stderr
    assert ask(port, "/readyz", "") == 200
    for log in logs:
        assert "does not use" not in log.read_text()
        assert "not fit for production" not in log.read_text()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line for line in lines if not re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", line["at"])] == []
        (start,) = [line for line in lines if line.get("message") == f"{log.name} starts"]
        assert (start["version"], start["settings"]["ENVIRONMENT"]) == (VERSION, "production")
