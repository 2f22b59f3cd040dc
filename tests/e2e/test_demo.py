"""The demonstration against a whole system, undisturbed and not."""

import json
import os
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

AGREES = "✓ The overview agrees with what the phones were told"

PATIENTLY = ("--still", "180")
"""A busy machine may show nothing new for long."""

Strike = Callable[..., None]


def start(system, *options):
    """A demonstration whose lines can be read while it goes on."""
    environment = os.environ | {"COMPANON_RUN": str(system.var / "run.json"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "scripts.commands.demo", "--limit", "900", *options]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def main_process(system, name):
    """The process that the supervisor has started under that name."""
    return psutil.Process(json.loads((system.var / "run.json").read_text())["processes"][name][0])


def kill(name) -> Strike:
    return lambda system: main_process(system, name).kill()


def kill_a_child_of(name) -> Strike:
    return lambda system: main_process(system, name).children(recursive=True)[-1].kill()


def flush(system):
    with redis.Redis.from_url(system.run["redis_url"]) as client:
        client.flushall()


STRIKES = {
    "a web process is killed": kill_a_child_of("web"),
    "the relay is killed": kill("relay"),
    "a worker process is killed": kill_a_child_of("worker"),
    "the clock is killed": kill("clock"),
    "Redis is killed": kill("redis"),
    "Redis is flushed": flush,
}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_it_can_be_played_twice_in_a_row_and_every_number_agrees(system, turn):
    playing = start(system, "--phones", "100", "--seconds", "2", *PATIENTLY)

    said, _ = playing.communicate()

    assert playing.returncode == 0, said
    assert AGREES in said
    assert "/s/" in said  # the code in the terminal
    assert all(system.run[name] in said for name in ("api", "docs", "mail"))


@pytest.mark.parametrize("strike", STRIKES.values(), ids=STRIKES)
def test_no_scan_is_lost_or_counted_twice_when(system, strike):
    with closing(psycopg2.connect(system.run["database_direct_url"])) as database:
        database.autocommit = True
        before = scored(database)
        playing = start(system, "--phones", "80", "--seconds", "2.5", *PATIENTLY)
        until(lambda: scored(database) >= before + 5 or playing.poll() is not None)

    strike(system)  # phones are scanning, and workers are scoring

    said, _ = playing.communicate()
    assert playing.returncode == 0, said
    assert AGREES in said


def scored(database):
    """How many scans have a score."""
    with database.cursor() as cursor:
        cursor.execute("select count(*) from qr_scans where scored_at is not null")
        return cursor.fetchone()[0]


def test_it_fails_and_marks_what_disagrees_when_the_brand_is_shown_other_numbers(system):
    playing = start(system, "--phones", "40", "--seconds", "3", "--still", "3")
    said = []

    for line in playing.stdout:
        said.append(line)
        if line.startswith("  phones"):
            falsify_a_scan(system)

    assert playing.wait() == 1
    assert any(line.startswith("  accepted") and line.rstrip().endswith("✗") for line in said)
    assert not any(AGREES in line for line in said)


def falsify_a_scan(system):
    """Take one accepted scan away from the newest brand, behind everybody's back."""
    with closing(psycopg2.connect(system.run["database_direct_url"])) as connection, connection:
        connection.cursor().execute(
            """
            update qr_scans set decision = 'rejected', reason = 'location_stale' where id = (
                select s.id from qr_scans s where decision = 'accepted' and scored_at is not null
                and brand_id = (select id from brands order by created_at desc limit 1) limit 1)
            """
        )


def test_without_a_system_it_says_how_to_start_one(tmp_path):
    command = [sys.executable, "-m", "scripts.commands.demo", "--run", str(tmp_path / "run.json")]

    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert played.returncode == 1
    assert "./scripts/up" in played.stdout
