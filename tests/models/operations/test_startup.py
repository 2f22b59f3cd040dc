"""The line that each process logs when it starts, and its warnings about doubtful variables."""

import logging
import os
from configparser import ConfigParser

from models.core.logs import redact_value
from models.operations import startup
from scripts.devstack.environment import ROOT
from settings import PROCESSES, VERSION
from tests.models.operations.test_settings_check import FIT, PASSWORD


def test_start_is_logged_with_version_and_settings_without_secrets(caplog):
    caplog.set_level(logging.INFO)

    for process in PROCESSES:
        startup.announce(FIT, process, worker_id=7)

    lines = {record.getMessage(): vars(record) for record in caplog.records if record.levelno == logging.INFO}
    assert lines.keys() == {f"{process} starts" for process in PROCESSES}
    web = lines["web starts"]
    assert (web["version"], web["pid"], web["worker_id"]) == (VERSION, os.getpid(), 7)
    assert web["settings"]["CORS_ORIGINS"] == FIT.cors_origins
    assert redact_value(web["settings"])["SUPABASE_CONFIRMS_EMAIL"] == "no"
    assert lines["relay starts"]["settings"] == {
        "ENVIRONMENT": "production",
        "LOG_LEVEL": "INFO",
        "WEBHOOK_CONCURRENCY": FIT.webhook_concurrency,
    }
    assert PASSWORD not in str(lines)
    assert FIT.metrics_token not in str(lines)


def test_misspelt_variable_is_logged_with_the_known_one(caplog, monkeypatch):
    monkeypatch.setenv("CORS_ORIGIN", "https://x.example")

    startup.announce(FIT, "relay")

    assert "unknown variable CORS_ORIGIN: did you mean CORS_ORIGINS?" in caplog.messages
    assert "x.example" not in caplog.text


def test_version_is_that_of_the_package():
    package = ConfigParser()
    package.read(ROOT / "setup.cfg")

    assert package["metadata"]["version"] == VERSION
