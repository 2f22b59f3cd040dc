"""Tests of the exit status of `./scripts/test`, which CI relies on."""

import signal

import pytest

from scripts.commands.test import main as checks
from scripts.devstack import progress


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(progress.output, "streams", [])
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # Importing them takes longer than these suites.
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def suite(tmp_path, body):
    path = tmp_path / "test_it.py"
    path.write_text(body)
    plugins = ("-p", "xdist", "-p", "no:cacheprovider")
    return ["-n0", *plugins, "--rootdir", str(tmp_path), "-c", "/dev/null", str(path)]


@pytest.mark.parametrize(
    ("command", "body", "status"),
    [
        ("true", "def test_it(): pass", 0),
        ("false", "def test_it(): pass", 1),
        ("true", "def test_it(): assert False", 1),
    ],
)
def test_exit_status_is_zero_only_if_checks_and_tests_pass(tmp_path, monkeypatch, capfd, command, body, status):
    monkeypatch.setattr(checks, "CHECKS", {"a check": [command]})

    assert checks.main(suite(tmp_path, body)) == status

    assert capfd.readouterr().out.rstrip().splitlines()[-1].startswith("====")
