"""Tests of the demonstration against a running system, with and without faults."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import psutil
import psycopg2
import pytest
import redis

from scripts.devstack.environment import ROOT
from tests.support.brokers import until

AGREES = "✓ The overview agrees with the phones and with the plan"

PATIENT = ("--still", "180")
"""Seconds without change that end the run: a busy machine is slow."""

Fault = Callable[..., None]


def start(system, *options):
    """Start a demonstration with output that can be read while it runs."""
    environment = os.environ | {"COMPANON_RUN": str(system.var / "run.json"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "scripts.commands.demo", "--limit", "900", *options]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def main_process(system, name):
    """Return the first process that the supervisor started under this name."""
    return psutil.Process(json.loads((system.var / "run.json").read_text())["processes"][name][0])


def kill(name) -> Fault:
    return lambda system: main_process(system, name).kill()


def kill_a_child_of(name) -> Fault:
    return lambda system: main_process(system, name).children(recursive=True)[-1].kill()


def flush(system):
    with redis.Redis.from_url(system.run["redis_url"]) as client:
        client.flushall()


FAULTS = {
    "Redis is flushed": flush,
    "a web process is killed": kill_a_child_of("web"),
    "the relay is killed": kill("relay"),
    "a worker process is killed": kill_a_child_of("worker-scans"),
    "the clock is killed": kill("clock"),
    "Redis is killed": kill("redis"),
}


@pytest.mark.slow
def test_demo_agrees_with_every_number(system):
    demo = start(system, "--phones", "100", "--seconds", "2", *PATIENT)

    text, _ = demo.communicate()

    require_agreement(system, demo, text)


def require_agreement(system, demo, text):
    """Require that every number agrees, and that the text shows where to look."""
    assert demo.returncode == 0, text
    assert AGREES in text
    assert "/s/" in text  # the code in the terminal
    assert re.search(r"Locker Drop: rewards( +8){3}\n +redeemed( +5){3}\n", text)
    assert re.search(r"Event Partnership: tickets( +7){3}\n +checked in( +4){3}\n", text)
    assert all(system.run[name] in text for name in ("api", "docs", "mail"))


def all_at_once(system):
    for fault in FAULTS.values():
        fault(system)


SLOW_FAULTS = [pytest.param(fault, marks=pytest.mark.slow, id=name) for name, fault in FAULTS.items()]


@pytest.mark.parametrize("fault", [pytest.param(all_at_once, id="all at once"), *SLOW_FAULTS])
def test_demo_with_fault_loses_and_duplicates_no_scan(system, fault):
    with closing(psycopg2.connect(system.run["database_direct_url"])) as database:
        database.autocommit = True
        before = scored(database)
        demo = start(system, "--phones", "80", "--seconds", "2.5", *PATIENT)
        until(lambda: scored(database) >= before + 5 or demo.poll() is not None)

    fault(system)  # while phones scan and workers score

    text, _ = demo.communicate()
    require_agreement(system, demo, text)


def scored(database):
    """Return the number of scans with a score."""
    with database.cursor() as cursor:
        cursor.execute("select count(*) from qr_scans where scored_at is not null")
        return cursor.fetchone()[0]


@pytest.mark.slow
def test_demo_with_falsified_overview_fails_and_marks_the_number(system):
    with closing(psycopg2.connect(system.run["database_direct_url"])) as database:
        database.autocommit = True
        before = scored(database)
        demo = start(system, "--phones", "40", "--seconds", "4", "--still", "3")
        until(lambda: scored(database) >= before + 5 or demo.poll() is not None)

    falsify_a_scan(system)  # while other scans of the same hour are counted

    text, _ = demo.communicate()
    lines = text.splitlines()
    assert demo.returncode == 1, text
    assert any(line.startswith("  accepted") and line.rstrip().endswith("✗") for line in lines), text
    assert not any(AGREES in line for line in lines)


def falsify_a_scan(system):
    """Reject one accepted scan of the newest brand in the database."""
    with closing(psycopg2.connect(system.run["database_direct_url"])) as connection, connection:
        connection.cursor().execute(
            """
            update qr_scans set decision = 'rejected', reason = 'location_stale' where id = (
                select s.id from qr_scans s where decision = 'accepted' and scored_at is not null
                and brand_id = (select id from brands order by created_at desc limit 1) limit 1)
            """
        )


def test_demo_without_system_names_the_command_that_starts_one(tmp_path):
    command = [sys.executable, "-m", "scripts.commands.demo", "--run", str(tmp_path / "run.json")]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "./scripts/up" in result.stdout
