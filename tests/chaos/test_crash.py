"""PostgreSQL crashes while jobs commit without waiting for its disk: an effect and its job's end go together."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from models.core.database import FLUSH
from scripts.commands.soak.faults import crash_postgres
from scripts.commands.soak.run import LEFT, tally
from scripts.commands.soak.stage import RELAYS, WORKERS, Stage

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0
JOBS = 600
ASK = """
    with intended as (insert into chaos.intents select n::text, 'insert' from generate_series(1, %s) as n returning key)
    select app.add_job(gen_random_uuid(), 'chaos.insert', jsonb_build_array(key), p_brand_id => gen_random_uuid())
    from intended
"""
EFFECTS_BESIDE_ENDS = """
    select (select array_agg(e.job_id order by e.job_id) from chaos.effects e)
        is not distinct from (select array_agg(h.id order by h.id) from app.job_history h where h.state = 'done')
"""


@pytest.fixture
def lazy(stage: Stage) -> Iterator[Stage]:
    """The stage, where what nobody waits for is written down late."""
    stage.rows("alter system set wal_writer_delay = '10s'")
    stage.rows("select pg_reload_conf()")
    yield stage
    stage.rows("alter system reset wal_writer_delay")
    stage.rows("select pg_reload_conf()")


def until(stage: Stage, sql: str, *params: object) -> None:
    """Wait until a query is true."""
    deadline = time.monotonic() + LONG
    while not stage.rows(sql, params)[0][0]:
        assert time.monotonic() < deadline, f"{sql} took too long\n{stage.logs()}"
        time.sleep(0.05)  # each look is a connection


def test_what_a_crash_takes_back_is_run_again_and_happens_once(lazy: Stage) -> None:
    lazy.rows(ASK, [JOBS])
    lazy.enter({"relay-1": RELAYS["relay-1"], "worker-1": WORKERS["worker-1"]})

    for share in (0.5, 1):
        until(lazy, "select count(*) >= %s from chaos.effects", share * JOBS)
        crash_postgres(lazy)
        assert lazy.rows(EFFECTS_BESIDE_ENDS) == [(True,)]
    until(lazy, f"select not exists ({LEFT.replace('count(*)', '')})")

    report = tally(lazy)
    assert report.is_clean, report.details
    assert report.jobs == JOBS


def test_what_is_about_to_leave_the_database_is_on_the_disk(lazy: Stage) -> None:
    with closing(lazy.superuser()) as writer, closing(lazy.superuser()) as reader:
        with writer.cursor() as cursor:
            cursor.execute("set synchronous_commit = off")
            cursor.execute("insert into chaos.intents values ('seen', 'outward')")
            cursor.execute("select pg_current_wal_insert_lsn()")
            (written,) = cursor.fetchall()[0]
        with reader.cursor() as cursor:
            cursor.execute(f"begin; select * from chaos.intents; {FLUSH[0]}; commit")
            cursor.execute("select pg_current_wal_flush_lsn() >= %s::pg_lsn", (written,))
            assert cursor.fetchall() == [(True,)]
