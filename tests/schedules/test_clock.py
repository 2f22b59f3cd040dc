"""The clock on the real ledger: each occurrence once, with any number of clocks."""

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from psycopg2.extensions import connection

from jobs.engine.ledger import Ledger
from schedules.clock import COUNTS, HEARTBEAT, enqueue_missing, make_scheduler, run
from schedules.kinds import Every
from schedules.table import SCHEDULES
from scripts.devstack.environment import ROOT
from tests.support.brokers import until

HOURLY = Every(hours=1, do="requests.expire", catch_up="all", late_means="")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def occurrences(superuser: connection) -> int:
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from app.schedule_occurrences o join app.jobs j on j.id = o.job_id")
        return int(cursor.fetchone()[0])  # type: ignore[index]


def test_occurrence_is_enqueued_once(ledger: Ledger, superuser: connection) -> None:
    assert enqueue_missing(ledger, HOURLY, NOON) == 1
    assert enqueue_missing(ledger, HOURLY, NOON + timedelta(minutes=59)) == 0
    assert enqueue_missing(ledger, HOURLY, NOON + timedelta(hours=1)) == 1
    assert occurrences(superuser) == 2


def test_starting_clock_enqueues_missed_occurrences(ledger: Ledger, superuser: connection) -> None:
    stopping = threading.Event()
    clock = threading.Thread(target=run, args=[Ledger(), stopping])
    clock.start()

    try:
        until(lambda: occurrences(superuser) >= len(SCHEDULES))
    finally:
        stopping.set()
        clock.join()

    with superuser.cursor() as cursor:
        cursor.execute("select distinct schedule from app.schedule_occurrences")
        assert {name for (name,) in cursor.fetchall()} == {schedule.do for schedule in SCHEDULES}


def test_clock_stops_while_its_database_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        env = os.environ | {"DATABASE_WORKER_URL": f"postgresql://app_worker@127.0.0.1:{silent.getsockname()[1]}/x"}
        clock = subprocess.Popen([sys.executable, "-m", "schedules.clock"], cwd=ROOT, env=env, stderr=subprocess.PIPE)
        connected, _ = silent.accept()

        with connected:
            clock.send_signal(signal.SIGTERM)
            _, said = clock.communicate(timeout=60)
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has tried no other schedule after the stop
            silent.accept()

    assert clock.returncode == 0
    assert b"Traceback" not in said


def test_two_clocks_enqueue_each_occurrence_once(ledger: Ledger, superuser: connection) -> None:
    ledgers = [Ledger() for _ in range(4)]

    def run(own: Ledger) -> None:
        for hour in range(30):
            enqueue_missing(own, HOURLY, NOON + timedelta(hours=hour))
        own.close()

    threads = [threading.Thread(target=run, args=[own]) for own in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert occurrences(superuser) == 30


def test_each_schedule_is_a_job_of_apscheduler(ledger: Ledger) -> None:
    planned = {job.id: job for job in make_scheduler(ledger).get_jobs()}

    assert set(planned) == {schedule.do for schedule in SCHEDULES} | {HEARTBEAT, COUNTS}


def test_apscheduler_fires_at_the_times_of_the_table(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    for schedule in SCHEDULES:
        fires = schedule.trigger().get_next_fire_time(None, now)

        assert fires == schedule.previous(fires)
