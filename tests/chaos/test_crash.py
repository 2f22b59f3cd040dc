"""Crashes of PostgreSQL while jobs commit asynchronously: an effect and the end of its job stay together."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from models.core.database import FLUSH
from scripts.commands.soak.faults import crash_postgres
from scripts.commands.soak.run import LEFT, count_results
from scripts.commands.soak.testbed import RELAYS, WORKERS, FaultTestbed

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0
JOBS = 600
ENQUEUE = """
    with intended as (insert into chaos.intents select n::text, 'insert' from generate_series(1, %s) as n returning key)
    select app.add_job(gen_random_uuid(), 'chaos.insert', jsonb_build_array(key), p_brand_id => gen_random_uuid())
    from intended
"""
EFFECTS_BESIDE_ENDS = """
    select (select array_agg(e.job_id order by e.job_id) from chaos.effects e)
        is not distinct from (select array_agg(h.id order by h.id) from app.job_history h where h.state = 'done')
"""


@pytest.fixture
def late_flush(testbed: FaultTestbed) -> Iterator[FaultTestbed]:
    """Yield the testbed with asynchronous commits flushed after 10 seconds."""
    testbed.rows("alter system set wal_writer_delay = '10s'")
    testbed.rows("select pg_reload_conf()")
    yield testbed
    testbed.rows("alter system reset wal_writer_delay")
    testbed.rows("select pg_reload_conf()")


def until(testbed: FaultTestbed, sql: str, *params: object) -> None:
    """Wait until a query is true."""
    deadline = time.monotonic() + LONG
    while not testbed.rows(sql, params)[0][0]:
        assert time.monotonic() < deadline, f"{sql} took too long\n{testbed.logs()}"
        time.sleep(0.05)  # Each poll opens a connection.


def test_jobs_lost_in_crash_run_again_once(late_flush: FaultTestbed) -> None:
    late_flush.rows(ENQUEUE, [JOBS])
    late_flush.start_members({"relay-1": RELAYS["relay-1"], "worker-1": WORKERS["worker-1"]})

    for share in (0.5, 1):
        until(late_flush, "select count(*) >= %s from chaos.effects", share * JOBS)
        crash_postgres(late_flush)
        assert late_flush.rows(EFFECTS_BESIDE_ENDS) == [(True,)]
    until(late_flush, f"select not exists ({LEFT.replace('count(*)', '')})")

    report = count_results(late_flush)
    assert report.is_clean, report.details
    assert report.jobs == JOBS


def test_read_of_unflushed_commit_flushes_it_first(late_flush: FaultTestbed) -> None:
    with closing(late_flush.superuser()) as writer, closing(late_flush.superuser()) as reader:
        with writer.cursor() as cursor:
            cursor.execute("set synchronous_commit = off")
            cursor.execute("insert into chaos.intents values ('seen', 'outward')")
            cursor.execute("select pg_current_wal_insert_lsn()")
            (written,) = cursor.fetchall()[0]
        with reader.cursor() as cursor:
            cursor.execute(f"begin; select * from chaos.intents; {FLUSH[0]}; commit")
            cursor.execute("select pg_current_wal_flush_lsn() >= %s::pg_lsn", (written,))
            assert cursor.fetchall() == [(True,)]
