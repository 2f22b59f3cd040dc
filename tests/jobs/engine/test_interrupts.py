"""Test interrupts: they occur within a body only, and its effects are all or nothing."""

import dataclasses
import io
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from jobs.engine import actor, registry
from jobs.engine.errors import JobInterrupted
from jobs.engine.ledger import Ledger
from jobs.engine.worker.interrupts import Interrupts, interrupts
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.context import Identity
from models.core.database import db, new_id, transaction, value
from models.jobs.ledger import enqueue
from tests.fixtures.jobs import take

pytestmark = pytest.mark.usefixtures("temporary_actors")

ROUNDS = 300


def write_much(marker: str) -> None:
    """Run statements, savepoints and rollbacks, so that interrupts strike peewee and psycopg2 in every state."""
    for _ in range(3):
        with db.atomic():
            value("SELECT max(due_at) FROM app.schedule_occurrences WHERE schedule = %s", (marker,))
        try:
            with db.atomic():
                value("SELECT 1")
                raise KeyError(marker)
        except KeyError:
            value("SELECT 2")
    insert(marker)
    value("SELECT 3")


def insert(marker: str) -> None:
    db.execute_sql(
        "INSERT INTO app.schedule_occurrences (schedule, due_at, job_id) VALUES (%s, now(), %s)", (marker, new_id())
    )


def test_random_interrupts_leave_all_or_nothing(
    ledger: Ledger, runner: Runner, query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    query("grant insert on app.schedule_occurrences to app_system")
    query("drop policy if exists test_insert on app.schedule_occurrences")
    query("create policy test_insert on app.schedule_occurrences for insert to app_system with check (true)")
    actor("test.interrupted", runs_as="system", max_attempts=10**6)(write_much)
    spec = registry._specs["test.interrupted"]
    endings: dict[str, int] = {}
    scale = 0.003  # about the seconds that a body takes on this machine; adapted in each round

    for number in range(ROUNDS):
        registry._specs["test.interrupted"] = dataclasses.replace(spec, time_limit=random.uniform(0.05, 2) * scale)
        done = endings.get("done", 0)
        id = run_round(ledger, runner, f"round-{number}", endings)
        scale *= 0.95 if endings.get("done", 0) > done else 1.05
        over = bool(query("select from app.job_history where id = %s and state = 'done'", id))
        written = bool(query("select from app.schedule_occurrences where schedule = %s", f"round-{number}"))
        assert over == written, f"round {number}: reported as done: {over}, rows written: {written}"
        with context.acting_as(Identity("worker", "none")):
            assert db.is_closed() or db._state.conn.info.transaction_status == TRANSACTION_STATUS_IDLE

    assert endings.get("done", 0) > ROUNDS / 20, endings
    assert endings.get("retry", 0) > ROUNDS / 20, endings
    open_transactions = "select count(*) from pg_stat_activity where datname = current_database() and state like %s"
    assert query(open_transactions, "idle in transaction%") == [(0,)]


def run_round(ledger: Ledger, runner: Runner, marker: str, endings: dict[str, int]) -> UUID:
    with transaction(context.for_system_job()):
        id = enqueue("test.interrupted", marker).id
    (claim,) = ledger.claim(take(ledger, "test.interrupted", most=1), 1)
    ending = runner.run(claim)
    endings[ending] = endings.get(ending, 0) + 1
    return claim.id if claim.id != id else id


def test_no_interrupt_strikes_after_disarm() -> None:
    watched = Interrupts()

    for _ in range(300):
        armed = watched.arm(random.uniform(0, 0.0005), 60)
        try:
            try:
                sum(range(random.randrange(2000)))
            finally:
                watched.disarm(armed)
        except JobInterrupted:
            disarm_quietly(watched, armed)
        sum(range(2000))  # a late interrupt would fail the test here

    assert watched._armed == {}


def disarm_quietly(watched: Interrupts, armed: Any) -> None:
    try:
        watched.disarm(armed)
    except JobInterrupted:
        return


def test_masked_block_delays_the_interrupt() -> None:
    finished: list[bool] = []
    armed = interrupts.arm(60, 60)

    def body() -> None:
        with interrupts.masked():
            interrupts.interrupt_all("shutdown")
            finished.append(armed.fired is None)
        while True:
            continue

    with pytest.raises(JobInterrupted):
        body()
    disarm_quietly(interrupts, armed)

    assert finished == [True]
    assert armed.fired == "shutdown"


def test_end_of_inner_mask_keeps_the_outer_mask() -> None:
    armed = interrupts.arm(60, 60)

    try:
        with interrupts.masked():
            with interrupts.masked():
                pass
            interrupts.interrupt_all("shutdown")
            fired_within = armed.fired
    except JobInterrupted:
        fired_within = "shutdown"
    disarm_quietly(interrupts, armed)

    assert fired_within is None


def test_watchdog_interrupts_with_a_replaced_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Interrupts()
    watched._start()
    monkeypatch.setattr("sys.stderr", io.StringIO())

    def body() -> None:
        watched.arm(0, 60)
        while True:
            continue

    with pytest.raises(JobInterrupted):
        body()
    watched._armed.clear()

    assert watched._thread is not None
    watched._thread.join(0.2)
    assert watched._thread.is_alive()


def test_shutdown_releases_the_job_without_charge(
    ledger: Ledger, runner: Runner, query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    @actor("test.stopped", runs_as="system")
    def body() -> None:
        interrupts.interrupt_all("shutdown")
        while True:
            continue

    with transaction(context.for_system_job()):
        id = enqueue("test.stopped").id

    assert runner.run(ledger.claim(take(ledger, "test.stopped", most=1), 1)[0]) == "released"
    assert query("select state, attempts from app.jobs where id = %s", id) == [("waiting", 0)]
