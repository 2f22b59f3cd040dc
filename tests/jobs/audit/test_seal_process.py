"""Tests of the running seal process: it survives lost connections and ends at SIGTERM."""

import os
import signal
import subprocess
import sys

import pytest

from jobs.audit import seal
from models.audit import trail
from models.core import context
from models.core.database import new_id, transaction, value
from scripts.devstack.environment import ROOT
from tests.fixtures.audit import writer
from tests.support.brokers import until

LOST = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app_seal'"


@pytest.fixture
def process(db_clean, tmp_path):
    """Run the seal process with a folder for its checkpoints."""
    env = os.environ | {"AUDIT_CHECKPOINT_URL": f"file://{tmp_path / 'checkpoints'}"}
    with subprocess.Popen([sys.executable, "-m", "jobs.audit.seal"], cwd=ROOT, env=env) as child:
        yield child
        child.kill()


def record_and_await_seal():
    with transaction(writer(new_id())):
        trail.record("test.act")
    until(lambda: _unsealed() == 0)


def _unsealed():
    with transaction(context.for_system_job()):
        return value("SELECT count(*) FROM public.audit_logs WHERE seq IS NULL")


def test_seal_process_survives_lost_connections_until_sigterm(process, superuser, tmp_path):
    record_and_await_seal()
    until(lambda: list((tmp_path / "checkpoints").glob("*.json")))
    with superuser.cursor() as cursor:
        for _ in range(3):
            cursor.execute(LOST)
            record_and_await_seal()
        cursor.execute("select kind from app.heartbeats")
        assert cursor.fetchall() == [("seal",)]

    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0


def test_sealer_polls_more_than_once_a_second():
    assert seal.POLL_INTERVAL < 1.0
