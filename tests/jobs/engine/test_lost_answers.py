"""Test the recovery of jobs after a lost claim, lock or report."""

import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from jobs.engine import actor
from jobs.engine.ledger import Claim, Ledger, LedgerUnavailable
from jobs.engine.registry import MAX_WAIT_TO_START
from jobs.engine.relay.missing_workers import MissingWorkers
from jobs.engine.worker.broker import LedgerBroker, LedgerConsumer
from jobs.engine.worker.runner import Runner, describe
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue as enqueue_job
from settings import settings
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors")

WORKER = 4711


@pytest.fixture
def consumer(db_clean: str) -> Iterator[LedgerConsumer]:
    """Return a worker's consumer of a queue."""
    broker = LedgerBroker(settings.transport_url, [])
    broker.worker_id = WORKER
    consumer = broker.consume("lost", prefetch=8)
    yield consumer
    consumer.close()


def publish(consumer: LedgerConsumer, ledger: Ledger) -> list[UUID]:
    ids = [id for id, _ in ledger.publish_due(["lost.job"], 10).jobs]
    consumer._transport.push("lost", ids)
    return ids


def enqueue(*args: Any) -> UUID:
    with transaction(context.for_system_job()):
        return enqueue_job("lost.job", *args).id


def state_of(query: Query, id: UUID) -> tuple[Any, ...]:
    return query("select state, attempts, crashes from app.job_status where id = %s", id)[0]


def lose_the_answer(consumer: LedgerConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = consumer._ledger.claim

    def claimed_and_lost(ids: Sequence[UUID], worker_id: int, *, alone: bool) -> list[Claim]:
        claim(ids, worker_id, alone=alone)
        raise LedgerUnavailable("the connection was reset")

    monkeypatch.setattr(consumer._ledger, "claim", claimed_and_lost)


def test_unconfirmed_claim_is_released_by_its_worker(
    consumer: LedgerConsumer, ledger: Ledger, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = enqueue()
    publish(consumer, ledger)
    with monkeypatch.context() as patched:
        lose_the_answer(consumer, patched)
        assert next(consumer) is None
    assert state_of(query, id) == ("running", 1, 0)

    assert next(consumer) is None

    assert state_of(query, id) == ("waiting", 0, 0)
    publish(consumer, ledger)
    message = next(consumer)
    assert message is not None
    assert message.args[0].id == id


def test_reclaimed_job_is_not_released_for_its_old_claim(
    consumer: LedgerConsumer, ledger: Ledger, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = enqueue()
    publish(consumer, ledger)
    with monkeypatch.context() as patched:
        lose_the_answer(consumer, patched)
        next(consumer)
    next(consumer)
    publish(consumer, ledger)
    next(consumer)

    consumer._unconfirmed._next = 0.0
    consumer._release_unconfirmed()

    assert state_of(query, id)[0] == "running"


def test_jobs_with_lost_ends_are_released_by_their_worker(
    consumer: LedgerConsumer, ledger: Ledger, query: Query
) -> None:
    actor("lost.job", queue="lost")(lambda: None)
    ended, held = enqueue(), enqueue()
    publish(consumer, ledger)
    messages = [next(consumer), next(consumer)]
    for message in messages:
        assert message is not None
        if message.args[0].id == ended:
            consumer.ack(message)  # its finish has committed, and the crash has undone it

    consumer._broker.record_lock_loss()
    assert next(consumer) is None

    assert state_of(query, ended) == ("waiting", 0, 0)
    assert state_of(query, held) == ("running", 1, 0)


def test_failed_release_occupies_no_capacity(consumer: LedgerConsumer, ledger: Ledger) -> None:
    enqueue()
    publish(consumer, ledger)
    message = next(consumer)
    assert message is not None
    ledger_of_consumer, consumer._ledger = consumer._ledger, DisconnectedLedger()

    with pytest.raises(LedgerUnavailable):
        consumer.requeue([message])

    consumer._ledger = ledger_of_consumer
    assert (len(consumer._held), consumer._broker.slot.try_exclusive()) == (0, True)


class Cut:
    """A connection that ends during a statement. psycopg2 raises different errors for that."""

    def __init__(self, error: psycopg2.Error) -> None:
        self._error = error

    def cursor(self) -> "Cut":
        return self

    def __enter__(self) -> "Cut":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the block."""

    def execute(self, *_: object) -> None:
        raise self._error

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("kind", [psycopg2.DatabaseError, psycopg2.OperationalError, psycopg2.InterfaceError])
def test_lost_connection_raises_ledger_unavailable(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, kind: type[psycopg2.Error]
) -> None:
    with monkeypatch.context() as patched:
        cut = Cut(kind("server closed the connection unexpectedly"))
        patched.setattr("jobs.engine.ledger.connect", lambda login: cut)
        with pytest.raises(LedgerUnavailable, match="unexpectedly"):
            ledger.missing_workers()

    assert ledger.missing_workers() == []


def test_refusal_of_the_database_is_raised_as_it_is(ledger: Ledger) -> None:
    with pytest.raises(psycopg2.Error, match="does not exist"):
        ledger._rows("SELECT app.no_such_function()")


class DisconnectedLedger(Ledger):
    """A ledger without a connection to the database."""

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        raise LedgerUnavailable("no route to host")


def test_worker_missing_at_every_check_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.engine.relay.missing_workers.time.monotonic", lambda: now[0])
    missing_workers = MissingWorkers(grace=5.0)

    looks = []
    for at, missing in ((100.0, [1, 2]), (103.0, [1]), (104.0, [1, 2]), (105.5, [1, 2]), (109.5, [1, 2])):
        now[0] = at
        looks.append(missing_workers.overdue(missing))

    assert looks == [[], [], [], [1], [1, 2]]


def test_sweep_reclaims_jobs_of_overdue_workers_only(ledger: Ledger, query: Query) -> None:
    ids = [enqueue(), enqueue()]
    ledger.publish_due(["lost.job"], 2)
    ledger.claim([ids[0]], 8001)
    ledger.claim([ids[1]], 8002)
    query("update app.jobs set claimed_at = now() - interval '1 minute'")

    assert sorted(ledger.missing_workers()) == [8001, 8002]
    assert ledger.sweep_missing(0, 3, [8002]) == [(ids[1], "waiting")]
    assert state_of(query, ids[0]) == ("running", 1, 0)


def test_overdue_job_of_a_live_worker_is_reclaimed(ledger: Ledger, query: Query) -> None:
    late, early = enqueue(), enqueue()
    ledger.publish_due(["lost.job"], 2)
    (held,) = ledger.claim([late], WORKER)
    ledger.claim([early], WORKER)
    query("select pg_advisory_lock(app.liveness_class(), %s)", WORKER)
    query("update app.jobs set claimed_at = now() - interval '11 minutes' where id = %s", late)

    assert ledger.sweep_overdue({"lost.job": 600.0, "another": 1.0}, 3) == [(late, "waiting")]

    query("select pg_advisory_unlock_all()")
    assert (state_of(query, late), state_of(query, early)) == (("waiting", 0, 1), ("running", 1, 0))
    assert ledger.outcome(held) == "lost"


def test_reclaimed_job_keeps_its_due_time(ledger: Ledger, query: Query) -> None:
    unlucky = enqueue()
    ledger.publish_due(["lost.job"], 1)
    ledger.claim([unlucky], WORKER)
    enqueue()
    query("update app.jobs set claimed_at = now() - interval '11 minutes' where id = %s", unlucky)
    ledger.sweep_overdue({"lost.job": 600.0}, 3)

    assert [id for id, _ in ledger.publish_due(["lost.job"], 1).jobs] == [unlucky]


def test_repeatedly_overdue_job_becomes_a_dead_letter(ledger: Ledger, query: Query) -> None:
    id = enqueue()
    for _ in range(3):
        ledger.publish_due(["lost.job"], 1)
        ledger.claim([id], WORKER)
        query("update app.jobs set claimed_at = now() - interval '11 minutes'")
        ledger.sweep_overdue({"lost.job": 600.0}, 3)

    assert state_of(query, id)[0] == "dead"


def test_claim_that_waited_too_long_is_released(ledger: Ledger, runner: Runner, query: Query) -> None:
    started: list[bool] = []
    actor("lost.job", runs_as="system")(lambda: started.append(True))
    id = enqueue()
    ledger.publish_due(["lost.job"], 1)
    (held,) = ledger.claim([id], 1)

    assert (runner.run(held, time.monotonic() - MAX_WAIT_TO_START - 1), started) == ("released", [])
    assert state_of(query, id) == ("waiting", 0, 0)


class UnprintableError(Exception):
    """An error whose message raises another error."""

    def __str__(self) -> str:
        raise ValueError("the message is not available")


@pytest.mark.parametrize(
    "error",
    [ValueError("NUL \0 in it"), ValueError("a lone surrogate \ud800"), UnprintableError()],
    ids=["nul", "surrogate", "message"],
)
def test_error_that_json_cannot_hold_ends_the_job(ledger: Ledger, query: Query, error: Exception) -> None:
    id = enqueue()
    ledger.publish_due(["lost.job"], 1)
    (held,) = ledger.claim([id], 1)

    ledger.retry(held, 0, describe(error))

    assert state_of(query, id) == ("waiting", 1, 0)
