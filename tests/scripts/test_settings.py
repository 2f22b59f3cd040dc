"""`./scripts/settings`: all faults of an environment at once."""

import os
import subprocess
import sys

import pytest

from scripts.commands.settings.main import check, main
from scripts.devstack import procfile
from scripts.devstack.environment import ROOT
from settings import PROCESSES, misspelt, variables

BARE = {name: text for name, text in os.environ.items() if name not in variables()}
UNREADABLE = {"WEB_THREADS": "s3cret", "PORT": "s3cret", "WORKER_DRAIN": "s3cret", "ENVIRONMENT": "prod"}


def run(*argv, **environ):
    command = [sys.executable, ROOT / "scripts" / "settings", *argv]
    return subprocess.run(command, env=BARE | environ, capture_output=True, text=True, check=False)


def test_all_faults_of_production_are_printed_at_once():
    asked = {"CORS_ORIGIN": "https://x.example", "WEB_THREADS": "s3cret", "PGSERVICE": "s3cret"}

    checked = run("--check", "--process", "web", ENVIRONMENT="production", **asked)

    assert checked.returncode == 1
    lines = checked.stdout.splitlines()
    assert lines[:2] == [
        "✗ WEB_THREADS must be a whole number",
        "✗ CORS_ORIGIN is unknown: did you mean CORS_ORIGINS?",
    ]
    assert {"DATABASE_URL", "SECRET_KEYS", "METRICS_TOKEN", "TRUSTED_PROXIES", "PGSERVICE"} <= {
        line.split()[1] for line in lines
    }
    assert "SMTP_URL" not in checked.stdout
    assert "s3cret" not in checked.stdout + checked.stderr
    assert "Traceback" not in checked.stderr


def test_environment_without_fault_passes_the_check(capsys, monkeypatch):
    for name in variables():
        monkeypatch.delenv(name, raising=False)

    assert main(["--check"]) == 0

    assert capsys.readouterr().out == "No fault found\n"


def test_check_of_one_process_omits_variables_of_others():
    assert list(check(UNREADABLE, ["relay"])) == ["ENVIRONMENT must be one of development, test, production"]
    assert len(list(check(UNREADABLE, PROCESSES))) == len(UNREADABLE)


@pytest.mark.parametrize(
    "wrong", ["localhost:3000", "http://localhost:3000/", "*", "https://a.example,HTTPS://B.example"]
)
def test_origin_that_no_page_has_is_a_fault_in_development(wrong):
    assert [fault.split()[0] for fault in check({"CORS_ORIGINS": wrong}, ["web"])] == ["CORS_ORIGINS"]


@pytest.mark.parametrize(
    "right", ["", "http://localhost:3000", "https://a.example, http://[::1]:80,", "capacitor://localhost"]
)
def test_origin_of_a_development_server_is_no_fault(right):
    assert list(check({"CORS_ORIGINS": right}, ["web"])) == []


def test_list_shows_whether_secrets_are_set(capsys, monkeypatch):
    monkeypatch.setenv("SECRET_KEYS", "1:s3cret")
    monkeypatch.setenv("WORKER_DRAIN", "s3cret")

    assert main(["--process", "worker"]) == 0

    out = capsys.readouterr().out
    assert "s3cret" not in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["SECRET_KEYS"] == ["(secret)", "environment"]
    assert rows["WORKER_PROCESSES"] == ["1", "default"]
    assert rows["WORKER_DRAIN"] == ["(can't", "be", "read)", "environment"]
    assert "WEB_THREADS" not in rows


@pytest.mark.parametrize("process", ["relay", "web"])
def test_process_with_unreadable_settings_names_all_without_traceback(process):
    command = procfile.argv(procfile.read(ROOT / "Procfile")[process])
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environ = BARE | UNREADABLE | {"PATH": path}

    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert {line.split()[0] for line in ended.stderr.splitlines()[1:]} == UNREADABLE.keys()
    assert "s3cret" not in ended.stderr


def test_misspelt_names_are_found_and_other_names_are_not():
    wrong = {
        "CORS_ORIGIN": "CORS_ORIGINS",
        "cors_origins": "CORS_ORIGINS",
        "LOGLEVEL": "LOG_LEVEL",
        "REDIS_URI": "REDIS_URL",
        "SECRET_KEY": "SECRET_KEYS",
        "TRUSTED_PROXY_NETWORK": "TRUSTED_PROXY_NETWORKS",
    }
    ordinary = "PATH HOME HOST USER LANG PGHOST PGPASSWORD API_URL WEB_PORT REDIS_PORT REDIS_PORT_6379_TCP SUPABASE_KEY"

    assert misspelt([*wrong, *ordinary.split(), *variables()]) == wrong


def test_module_of_settings_has_no_other_attributes():
    import settings

    with pytest.raises(AttributeError, match="setting"):
        _ = settings.setting
