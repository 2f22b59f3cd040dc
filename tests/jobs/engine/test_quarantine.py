"""Test quarantined jobs: each runs alone, and other jobs do not delay it for ever."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from dramatiq import MessageProxy
from psycopg2.extensions import connection

from jobs.engine.ledger import Ledger
from jobs.engine.worker import exclusive_slot
from jobs.engine.worker.broker import LedgerBroker, LedgerConsumer
from jobs.engine.worker.exclusive_slot import ExclusiveSlot
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue
from settings import settings

WORKER = 4712
Publish = Callable[..., UUID]


@pytest.fixture
def consumer(db_clean: str) -> Iterator[LedgerConsumer]:
    """Return a worker's consumer of a queue."""
    broker = LedgerBroker(settings.transport_url, [])
    broker.worker_id = WORKER
    consumer = broker.consume("test", prefetch=4)
    yield consumer
    consumer.close()


@pytest.fixture
def publish(consumer: LedgerConsumer, ledger: Ledger, superuser: connection) -> Publish:
    """Return a function that enqueues and publishes a job with a number of crashes."""

    def publish(crashes: int = 0) -> UUID:
        with transaction(context.for_system_job()):
            id = enqueue("test.quarantined").id
        with superuser.cursor() as cursor:
            cursor.execute("update app.jobs set crashes = %s where id = %s", (crashes, id))
        ids = [id for id, _ in ledger.publish_due(["test.quarantined"], 10).jobs]
        consumer._transport.push("test", ids)
        return id

    return publish


@pytest.fixture
def zero_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive_slot, "PATIENCE", 0.0)


def held(consumer: LedgerConsumer, id: UUID) -> MessageProxy:
    """Fetch the job as a worker does."""
    message = next(consumer)
    assert message is not None
    assert message.args[0].id == id
    return message


def test_quarantined_job_waits_until_its_process_is_empty(consumer: LedgerConsumer, publish: Publish) -> None:
    message = held(consumer, publish())
    quarantined = publish(crashes=1)

    assert [next(consumer), next(consumer)] == [None, None]

    consumer.ack(message)
    held(consumer, quarantined)


def test_no_job_is_fetched_beside_a_quarantined_one(consumer: LedgerConsumer, publish: Publish) -> None:
    quarantined, other = publish(crashes=1), publish()
    consumer.ack(held(consumer, other))
    message = held(consumer, quarantined)
    late = publish()

    assert next(consumer) is None

    consumer.ack(message)
    held(consumer, late)


@pytest.mark.usefixtures("zero_patience")
def test_busy_process_fetches_no_job_while_a_quarantined_one_waits(consumer: LedgerConsumer, publish: Publish) -> None:
    message = held(consumer, publish())
    quarantined = publish(crashes=1)
    assert next(consumer) is None
    publish()

    assert next(consumer) is None, "fetched more although a quarantined job has waited for long enough"

    consumer.ack(message)
    held(consumer, quarantined)


def test_claimed_job_is_not_quarantined(consumer: LedgerConsumer, publish: Publish, ledger: Ledger) -> None:
    taken, quarantined = publish(), publish(crashes=2)
    ledger.claim([taken], 1)

    assert next(consumer) is None
    assert list(consumer._quarantined) == [quarantined]


@pytest.mark.usefixtures("zero_patience")
def test_exclusive_request_without_repetition_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.engine.worker.exclusive_slot.time.monotonic", lambda: now[0])
    slot = ExclusiveSlot()
    slot.add(1)
    slot.try_exclusive()
    assert not slot.wait_for_shared(0)

    now[0] += exclusive_slot.REQUEST_EXPIRES + 1

    assert slot.wait_for_shared(0)


def test_quarantined_jobs_have_priority_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.engine.worker.exclusive_slot.time.monotonic", lambda: now[0])
    slot = ExclusiveSlot()
    slot.add(1)
    slot.try_exclusive()
    now[0] += exclusive_slot.PATIENCE
    slot.try_exclusive()
    slot.remove(1)

    assert slot.try_exclusive()
    slot.settle(exclusive=False)

    assert not slot.wait_for_shared(0)
    now[0] += exclusive_slot.PRIORITY_SECONDS
    assert slot.wait_for_shared(0)
