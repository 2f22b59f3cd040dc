"""Rules of the ledger that are stated in two places are the same in both."""

import json
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection

from models.core import context
from models.core.context import Identity
from models.core.database import execute, new_id, transaction
from models.core.errors import Problem
from models.jobs import ledger

pytestmark = pytest.mark.usefixtures("db_clean")

LIVE_ONLY = {
    *("due_at", "priority", "fence", "worker_id", "published_at", "cancel_requested_at"),
    *("tenant_key", "unique_key", "coalesce_key"),
}
"""Columns of a live job that the history does not keep."""
REPLAY_ONLY = {"fingerprint", "priority", "fence", "unique_key", "coalesce_key"}
"""Columns that a dead letter has beyond those of the history."""
VALUES: dict[str, Any] = {
    "id": "00000000-0000-7000-8000-000000000001",
    "actor": "test.columns",
    "args": [1],
    "version": 3,
    "state": "running",
    "priority": 2,
    "due_at": "2026-01-01T00:00:00+00:00",
    "attempts": 4,
    "crashes": 5,
    "fence": 6,
    "worker_id": 7,
    "published_at": "2026-01-02T00:00:00+00:00",
    "claimed_at": "2026-01-03T00:00:00+00:00",
    "cancel_requested_at": "2026-01-04T00:00:00+00:00",
    "brand_id": "00000000-0000-7000-8000-000000000002",
    "user_id": "00000000-0000-7000-8000-000000000003",
    "subject_type": "type",
    "subject_id": "subject",
    "parent_id": "00000000-0000-7000-8000-000000000004",
    "group_id": "00000000-0000-7000-8000-000000000005",
    "request_id": "request",
    "correlation_id": "correlation",
    "traceparent": "00-trace-span-01",
    "unique_key": "unique",
    "coalesce_key": "coalesce",
    "progress_done": 8,
    "progress_total": 9,
    "progress_message": "message",
    "error": {"kind": "E"},
    "created_at": "2026-01-05T00:00:00+00:00",
}
"""A different value for each column of a live job, except the generated one."""


def columns(superuser: connection, table: str) -> list[str]:
    with superuser.cursor() as cursor:
        cursor.execute("select attname from pg_attribute where attrelid = %s::regclass and attnum > 0", (table,))
        return [str(name) for (name,) in cursor.fetchall()]


def row(superuser: connection, source: str) -> dict[str, Any]:
    """Return the only row of a table or view, with its values as in `VALUES`."""
    with superuser.cursor() as cursor:
        cursor.execute("set timezone = 'UTC'")
        cursor.execute(f"select to_jsonb(r) from {source} r")
        ((found,),) = cursor.fetchall()
        return dict(found)


def insert(superuser: connection, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    with superuser.cursor() as cursor:
        cursor.execute(
            f"insert into app.jobs ({names}) select {names} from jsonb_populate_record(null::app.jobs, %s)",
            (json.dumps(values),),
        )


def call(superuser: connection, statement: str) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(statement)


def test_values_of_the_test_cover_each_column(superuser: connection) -> None:
    assert {*VALUES, "tenant_key"} == set(columns(superuser, "app.jobs"))
    history = set(columns(superuser, "app.job_history"))
    assert history == set(VALUES) - LIVE_ONLY | {"finished_at"}
    assert columns(superuser, "app.dead_jobs")[: len(history)] == columns(superuser, "app.job_history")
    assert set(columns(superuser, "app.dead_jobs")) == history | REPLAY_ONLY


@pytest.mark.parametrize(
    ("end", "table", "state", "error"),
    [
        ("call app.finish(%s, 6)", "app.job_history", "done", None),
        ("select app.finish_cancelled(%s, 6)", "app.job_history", "cancelled", None),
        ('select app.dead_letter(%s, 6, \'{"kind": "F"}\')', "app.dead_jobs", "dead", {"kind": "F"}),
    ],
)
def test_ended_job_keeps_each_column(superuser: connection, end: str, table: str, state: str, error: object) -> None:
    insert(superuser, VALUES)
    expected = {name: VALUES[name] for name in set(VALUES) - LIVE_ONLY} | {"state": state, "error": error}
    live = row(superuser, "app.job_status")

    call(superuser, end % f"'{VALUES['id']}'")

    ended = row(superuser, table)
    assert {name: ended[name] for name in expected} == expected
    assert live == {name: VALUES.get(name) for name in live}
    changed = {"state": state, "error": error, "finished_at": ended["finished_at"], "cancel_requested_at": None}
    assert row(superuser, "app.job_status") == live | changed


def test_replayed_job_keeps_each_column_that_is_not_reset(superuser: connection) -> None:
    insert(superuser, VALUES)
    call(superuser, f"select app.dead_letter('{VALUES['id']}', 6, '{{\"kind\": \"F\"}}')")

    call(superuser, "select app.revive_job(d, null, '2026-02-01') from app.dead_jobs d")

    reset = {
        "state": "waiting",
        "due_at": "2026-02-01T00:00:00+00:00",
        "attempts": 0,
        "crashes": 0,
        "error": {"kind": "F"},
        "tenant_key": VALUES["brand_id"],
        **dict.fromkeys(("worker_id", "published_at", "claimed_at", "cancel_requested_at")),
        **dict.fromkeys(("progress_done", "progress_total", "progress_message")),
    }
    assert row(superuser, "app.jobs") == VALUES | reset


def test_states_of_python_are_those_of_the_tables(superuser: connection) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(
            "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint where contype = 'c'"
            " and conrelid in ('app.jobs'::regclass, 'app.job_history'::regclass, 'app.dead_jobs'::regclass)"
            " and pg_get_constraintdef(oid) ~ '^CHECK ..state = (ANY|''dead)'"
        )
        found = {table: set(definition.split("'")[1::2]) for table, definition in cursor.fetchall()}

    assert found == {
        "app.jobs": set(ledger.LIVE_STATES),
        "app.job_history": set(ledger.ENDED_STATES) - {"dead"},
        "app.dead_jobs": {"dead"},
    }


BRAND, PERSON, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
CALLERS = {
    "member": Identity("web", "authenticated", {"sub": str(PERSON), "app_metadata": {"brand_id": str(BRAND)}}),
    "brand's job": context.for_brand_job(BRAND),
    "fan": Identity("web", "app_fan", {"sub": str(PERSON)}),
    "fan's job": context.for_fan_job(PERSON),
    "system job": context.for_system_job(),
}


@pytest.mark.parametrize("name", CALLERS)
def test_owners_refused_by_python_are_those_refused_by_sql(name: str) -> None:
    caller = CALLERS[name]
    for brand_id, user_id in product((None, BRAND, OTHER), (None, PERSON, OTHER)):
        if caller.role in ("authenticated", "app_job") and user_id is not None:
            continue  # Whether the brand knows the person is a rule of SQL alone.
        assert refusal_of_python(caller, brand_id, user_id) == refusal_of_sql(caller, brand_id, user_id)


def refusal_of_python(caller: Identity, brand_id: UUID | None, user_id: UUID | None) -> str | None:
    try:
        ledger._require_owner(caller, brand_id, user_id)
    except Problem as problem:
        return problem.detail
    return None


def refusal_of_sql(caller: Identity, brand_id: UUID | None, user_id: UUID | None) -> str | None:
    call = """
        CALL app.enqueue(%s, 'test.one', '[]', '0', 1, null, null, null, null, %s, %s, null, null, null, null, false, 1,
            null)
    """
    try:
        with transaction(caller):
            execute(call, (new_id(), brand_id, user_id))
    except Problem as problem:
        return problem.detail
    return None
