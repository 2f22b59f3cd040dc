"""Test deployments: versions of arguments, worker shutdown, and maintenance of the ledger."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from psycopg2.extensions import connection

from jobs.engine import actor
from jobs.engine.ledger import Ledger
from jobs.engine.transports import connect
from jobs.engine.worker.broker import LedgerBroker
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import transaction, value
from models.jobs.ledger import enqueue as enqueue_job
from models.operations import housekeeping
from scripts.devstack import processes
from scripts.devstack.environment import ROOT
from settings import settings
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query
from tests.support.brokers import until

pytestmark = pytest.mark.usefixtures("temporary_actors", "db_clean")

SHORT, LONG = "slow.short", "slow.long"  # actors of tests.jobs.engine.slow_actors


def enqueue(name: str, *args: Any, **options: Any) -> UUID:
    with transaction(context.for_system_job()):
        return enqueue_job(name, *args, **options).id


# Arguments


def declare_third_version(heard: list[Any]) -> None:
    """Declare version 3: `(address)`, then `(address, locale)`, then `(recipient: {address, locale})`."""

    @actor(
        "deploy.greet",
        runs_as="system",
        version=3,
        upcast={1: lambda args: [*args, "en"], 2: lambda args: [{"address": args[0], "locale": args[1]}]},
    )
    def greet(recipient: dict[str, str]) -> None:
        heard.append(recipient)


@pytest.mark.parametrize(
    ("version", "args"),
    [(1, ["a@b.example"]), (2, ["a@b.example", "en"]), (3, [{"address": "a@b.example", "locale": "en"}])],
)
def test_arguments_of_older_versions_are_upcast(ledger: Ledger, runner: Runner, version: int, args: list[Any]) -> None:
    heard: list[Any] = []
    declare_third_version(heard)
    enqueue("deploy.greet", *args, version=version)

    assert runner.run(ledger.claim(take(ledger, "deploy.greet"), 1)[0]) == "done"

    assert heard == [{"address": "a@b.example", "locale": "en"}]


def test_job_of_newer_version_waits_for_another_release(ledger: Ledger, runner: Runner, query: Query) -> None:
    heard: list[Any] = []
    declare_third_version(heard)
    id = enqueue("deploy.greet", "in", "a form", "of tomorrow", version=4)

    assert runner.run(ledger.claim(take(ledger, "deploy.greet"), 1)[0]) == "newer_version"

    assert heard == []
    assert query("select state, attempts, due_at > now(), version from app.jobs where id = %s", id) == [
        ("waiting", 0, True, 4)
    ]


def test_failed_upcast_is_a_failed_attempt(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("deploy.broken", runs_as="system", version=2, upcast={1: lambda args: [args[7]]})(lambda: None)
    id = enqueue("deploy.broken")

    assert runner.run(ledger.claim(take(ledger, "deploy.broken"), 1)[0]) == "retry"
    assert query("select error ->> 'kind' from app.jobs where id = %s", id) == [("IndexError",)]


@pytest.mark.parametrize(
    ("version", "upcast"), [(2, {}), (3, {2: list}), (1, {1: list}), (2, {1: list, 2: list})], ids=str
)
def test_version_without_upcast_is_refused_at_declaration(version: int, upcast: Any) -> None:
    with pytest.raises(ValueError, match="needs exactly one upcast"):
        actor("deploy.gap", version=version, upcast=upcast)(lambda: None)


# Workers


@pytest.fixture
def worker(tmp_path: Path, redis_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a real worker with four threads that drains for five seconds."""
    command = [sys.executable, "-m", "dramatiq", "tests.jobs.engine.slow_actors", "--processes", "1", "--threads", "4"]
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        running = processes.spawn(command, env={**os.environ, "WORKER_DRAIN": "5"}, cwd=ROOT, output=output)
    yield running
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    print(log.read_text()[-5000:])


def test_stopped_worker_finishes_or_releases_its_jobs(
    worker: "subprocess.Popen[bytes]", ledger: Ledger, query: Query
) -> None:
    ids = [enqueue(SHORT) for _ in range(2)]
    transport = connect(settings.transport_url)
    transport.push("default", take(ledger, SHORT))
    until(lambda: query("select count(*) from app.jobs where progress_message = 'started'") == [(2,)])
    unfinished = [enqueue(LONG) for _ in range(6)]
    transport.push("default", take(ledger, LONG))
    transport.close()
    until(lambda: query("select count(*) from app.jobs where progress_message = 'started'") == [(4,)])

    worker.send_signal(signal.SIGTERM)
    query("insert into app.job_keys (key, job_id) values ('slow.go', gen_random_uuid())")

    assert worker.wait(timeout=300) == 0
    done = query("select id from app.job_history where state = 'done' and attempts = 1")
    assert sorted(done) == sorted((id,) for id in ids)
    left = query("select id, attempts, crashes from app.jobs where state in ('waiting', 'published')")
    assert sorted(left) == sorted((id, 0, 0) for id in unfinished)
    assert query("select count(*) from app.dead_jobs") == [(0,)]


def test_closed_consumer_releases_its_claims(ledger: Ledger, query: Query, redis_url: str) -> None:
    actor("deploy.effect", runs_as="system", queue="closing")(lambda: None)
    ids = [enqueue("deploy.effect") for _ in range(5)]
    transport = connect(redis_url)
    transport.push("closing", take(ledger, "deploy.effect"))
    broker = LedgerBroker(redis_url, [])
    broker.worker_id = 1
    consumer = broker.consume("closing", prefetch=16)

    handed_out = next(consumer)
    assert handed_out is not None
    assert query("select count(*) from app.jobs where state = 'running'") == [(5,)]
    consumer.close()

    rest = [id for id in ids if str(id) != handed_out.message_id]
    assert sorted(query("select id, attempts, crashes from app.jobs where state = 'waiting'")) == sorted(
        (id, 0, 0) for id in rest
    )
    transport.close()


# The ledger


def test_history_partitions_are_created_ahead_and_dropped(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("deploy.effect", runs_as="system")(lambda: None)
    id = enqueue("deploy.effect")
    runner.run(ledger.claim(take(ledger, "deploy.effect"), 1)[0])
    query(
        "create table app_partitions.job_history_20200101 partition of app.job_history"
        " for values from ('2020-01-01') to ('2020-01-02');"
        "insert into app.job_history (id, actor, args, version, state, attempts, crashes, created_at, finished_at)"
        " values (gen_random_uuid(), 'deploy.effect', '[]', 1, 'done', 1, 0, '2020-01-01', '2020-01-01 12:00Z')"
    )
    query("alter table app_partitions.job_history_20200101 owner to app_definer")
    ((today,),) = query("select current_date")

    with transaction(context.for_system_job()):
        dropped = value("SELECT array_agg(name) FROM app.rotate_job_history(20, '30 days') AS name")
        again = value("SELECT array_agg(name) FROM app.rotate_job_history(20, '30 days') AS name")

    assert (dropped, again) == (["job_history_20200101"], None)
    its_day = "tableoid::regclass::text = 'app_partitions.job_history_' || to_char(finished_at, 'YYYYMMDD')"
    assert query(f"select id, {its_day} from app.job_history") == [(id, True)]
    assert query(
        "select to_regclass('app_partitions.job_history_' || to_char(%s::date + 20, 'YYYYMMDD')) is not null", today
    ) == [(True,)]


def test_prune_keeps_newest_occurrence_and_live_processes(db_clean: str, query: Query) -> None:
    query(
        "insert into app.schedule_occurrences (schedule, due_at, job_id) values"
        " ('rare', now() - interval '400 days', gen_random_uuid()),"
        " ('rare', now() - interval '40 days', gen_random_uuid()),"
        " ('often', now() - interval '31 days', gen_random_uuid()), ('often', now(), gen_random_uuid())"
    )
    query(
        "insert into app.heartbeats (kind, process, at) values ('relay', 'gone', now() - interval '25 hours'),"
        " ('relay', 'here', now() - interval '23 hours')"
    )

    with transaction(context.for_system_job()):
        housekeeping.prune_jobs()

    kept = "select schedule, due_at > now() - interval '41 days' from app.schedule_occurrences order by 1"
    assert query(kept) == [("often", True), ("rare", True)]
    assert query("select process from app.heartbeats") == [("here",)]


PARTITIONS = """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'app.job_history'::regclass order by 1"""


def rotate(days: int = 14) -> list[str]:
    with transaction(context.for_system_job()):
        return value(
            "SELECT coalesce(array_agg(name), '{}') FROM app.rotate_job_history(%s, '30 days') AS name", [days]
        )


def add_history(query: Query, *finished_at: str) -> None:
    for at in finished_at:
        query(
            "insert into app.job_history (id, actor, args, version, state, attempts, crashes, created_at, finished_at)"
            " values (gen_random_uuid(), 'deploy.effect', '[]', 1, 'done', 1, 0, now(), " + at + ")"
        )


def test_rotation_moves_rows_out_of_the_default_partition(db_clean: str, query: Query) -> None:
    for (name,) in query(PARTITIONS + " desc"):
        if name != "job_history_default":
            query(f"drop table app_partitions.{name}")
    add_history(query, "now()", "now() - interval '2 days'", "now() + interval '1 day'")

    rotate()

    by_partition = "select tableoid::regclass::text ~ 'default$', count(*) from app.job_history group by 1 order by 1"
    assert query(by_partition) == [(False, 2), (True, 1)]


def test_rotation_deletes_old_rows_of_the_default_partition(db_clean: str, query: Query) -> None:
    add_history(query, "now() - interval '400 days'", "now() - interval '29 days'")

    rotate()

    assert query("select finished_at > now() - interval '30 days' from app.job_history") == [(True,)]


def test_rotation_creates_the_same_days_in_every_time_zone(db_clean: str, superuser: connection) -> None:
    made = []
    for zone in ("America/New_York", "Asia/Tokyo", "UTC"):
        with superuser.cursor() as cursor:
            cursor.execute(f"set timezone = '{zone}'; select app.rotate_job_history(20, '30 days')")
            cursor.execute(
                "set timezone = 'UTC'; select relname, pg_get_expr(relpartbound, oid) from pg_class"
                " where relispartition and relname ~ '^job_history_[0-9]+$' order by 1"
            )
            made.append(cursor.fetchall())
            cursor.execute("reset timezone")

    assert made[0] == made[1] == made[2]
    assert all(f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]} 00:00:00+00" in bounds for name, bounds in made[0])


ROUNDS, A_ROUND = 30, 100


def test_ledger_stays_small_during_a_long_transaction(ledger: Ledger, query: Query, superuser: connection) -> None:
    reader = psycopg2.connect(superuser.dsn)
    try:
        with reader.cursor() as cursor:
            cursor.execute("begin isolation level repeatable read; select count(*) from app.jobs")
        before = blocks_of_a_round(query)
        for _ in range(ROUNDS):
            drain_a_round(ledger, query)
        after, (index, rows) = blocks_of_a_round(query), pages(query)
        reader.rollback()
    finally:
        reader.close()

    # No row of 3,000 jobs could be vacuumed. Dead rows cost few pages, and less than a page for each job to skip.
    assert index < ROUNDS * A_ROUND / 50
    assert rows < ROUNDS * A_ROUND / 5
    assert after - before < ROUNDS * A_ROUND / 2
    query("vacuum app.jobs")
    assert blocks_of_a_round(query) <= before + 20


def drain_a_round(ledger: Ledger, query: Query) -> None:
    query("insert into app.jobs (id, actor) select gen_random_uuid(), 't.x' from generate_series(1, %s)", A_ROUND)
    held = ledger.claim(take(ledger, "t.x", most=A_ROUND), 1)
    assert len(held) == A_ROUND
    query("; ".join(["call app.finish(%s, 1)"] * len(held)), *(claim.id for claim in held))


def blocks_of_a_round(query: Query) -> int:
    """Return the blocks that a poll reads when no job is due."""
    looked_at = []
    for _ in range(3):  # the first poll reads catalogues, too
        ((plan,),) = query(
            "explain (analyze, buffers, format json)"
            " select * from app.publish_due(array['t.x'], 50, '{}'::app.actor_limits[], gen_random_uuid())"
        )
        looked_at.append(int(plan[0]["Plan"]["Shared Hit Blocks"]))
    return min(looked_at)


def pages(query: Query) -> tuple[int, int]:
    """Return the pages of the index of due jobs and of the ledger's table."""
    ((index, rows),) = query("select pg_relation_size('app.jobs_due') / 8192, pg_relation_size('app.jobs') / 8192")
    return index, rows
