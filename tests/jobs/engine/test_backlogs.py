"""Test that a poll for due jobs reads few pages of the ledger with any backlog."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from psycopg2.extensions import connection

from jobs.engine.ledger import LAST_TENANT_KEY
from models.core.context import SYSTEM_ADMIN, Identity
from models.core.database import connect, transaction, value
from models.jobs import control

Look = Callable[..., int]

ADMIN = Identity("account", "app_admin", {"app_metadata": {"user_role": SYSTEM_ADMIN}})

WAITING, ROOM = 6_000, 32
ACTORS = [f"t.backlog{n}" for n in range(4)]
PAGES = 2_500
"""Maximum pages for about 32 pairs of actor and brand, 32 published jobs, and planning."""

SHAPES = {
    "most jobs of one brand": "mod(n, 4), case when mod(n, 10) > 0 then 1 else mod(n, 50) end, mod(n, 4), 0",
    "jobs of a thousand brands": "mod(n, 4), mod(n, 1000), 1, 0",
    "jobs of one brand and one actor": "0, 1, 1, 0",
    "jobs of each priority in every brand": "mod(n, 4), mod(n, 50), mod(n / 50, 4), 0",
    "few due jobs": "mod(n, 4), mod(n, 50), mod(n / 50, 4), case when mod(n, 100) = 0 then 0 else 86400 end",
}
FILL = """
    insert into app.jobs (id, actor, args, brand_id, priority, due_at)
    select gen_random_uuid(), 't.backlog' || actor, to_jsonb(array[n]), lpad(to_hex(brand), 32, '0')::uuid, priority,
        now() - %(waiting)s * interval '10 ms' + n * interval '10 ms' + delay * interval '1 second'
    from (select n, {shape} from generate_series(1, %(waiting)s) as n) as j (n, actor, brand, priority, delay)
"""


PLANNED = {
    "without statistics": "select",
    # As after an analyze of hundreds of empty pages.
    "with statistics of an empty table": "update pg_class set reltuples = 0, relpages = 147"
    " where oid = 'app.jobs'::regclass",
}
"""Statistics of the ledger for the planner."""


@pytest.fixture(params=["select"])
def look(db_clean: str, superuser: connection, request: pytest.FixtureRequest) -> Iterator[Look]:
    """Return a poll of the relay that returns the pages it read. Its plans are made while one job waits.

    The table is truncated, so that no dead rows of other tests are read.
    """
    with superuser.cursor() as cursor:
        cursor.execute("truncate app.jobs")
        cursor.execute(request.param)
    with closing(connect("worker")) as db, db.cursor() as cursor:

        def look(room: int = ROOM, limits: list[tuple[Any, ...]] | None = None) -> int:
            cursor.execute(
                "explain (analyze, buffers, timing off, format json)"
                " select * from app.publish_due(%s, %s, %s::app.actor_limits[], %s)",
                (ACTORS, room, limits or [], LAST_TENANT_KEY),
            )
            return pages_of(cursor.fetchone()[0][0])

        fill(superuser, SHAPES["jobs of a thousand brands"], 1)
        look()
        yield look


def pages_of(plan: dict[str, Any]) -> int:
    """Return the number of read pages, including those of called functions."""
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def fill(superuser: connection, shape: str, waiting: int = WAITING) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(FILL.format(shape=shape), {"waiting": waiting})


@pytest.mark.parametrize("look", PLANNED.values(), ids=PLANNED, indirect=True)
@pytest.mark.parametrize("shape", SHAPES)
def test_poll_of_any_backlog_reads_few_pages(look: Look, superuser: connection, shape: str) -> None:
    fill(superuser, SHAPES[shape])

    look()  # The first poll has cold caches and makes plans.
    planned_early = look()
    with superuser.cursor() as cursor:
        cursor.execute("analyze app.jobs")
    look()  # The analyze has discarded the plan.

    assert max(planned_early, look(), look()) < PAGES


def test_poll_with_exhausted_limits_reads_no_jobs(look: Look, superuser: connection) -> None:
    fill(superuser, SHAPES["jobs of a thousand brands"])
    at_most_one_runs = [(name, 1, None, None, None) for name in ACTORS]
    look(limits=at_most_one_runs)

    assert look(limits=at_most_one_runs) < PAGES / 10


@pytest.mark.parametrize("id", ["cafe" * 8, "account-s-own"])
def test_trail_of_a_caller_id_reads_few_pages(db_clean: str, superuser: connection, id: str) -> None:
    fill(superuser, SHAPES["jobs of a thousand brands"])
    with superuser.cursor() as cursor:
        cursor.execute(
            "update app.jobs set request_id = id::text, correlation_id = case when args = '[1]' then 'account-s-own'"
            " else id::text end, traceparent = case when args = '[2]' then '00-' || repeat('cafe', 8) || '-1-00'"
            " else '00-' || md5(id::text) || '-1-00' end"
        )
        cursor.execute("analyze app.jobs")
    with transaction(ADMIN):
        assert len(control.trail(id)) == 1
        (plan,) = value("explain (analyze, buffers, format json) select * from app.jobs_of_request(%s, 10)", (id,))

    assert pages_of(plan) < 300
