"""Test the properties of every transport on every kind of broker."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from jobs.engine.transports import connect, rabbitmq
from jobs.engine.transports.base import Transport, TransportError
from models.jobs import wakeup
from tests.support.brokers import Broker, until

pytestmark = pytest.mark.xdist_group("brokers")

Connect = Callable[[], Transport]
QUEUES = ["a", "b"]
PATIENCE = 60.0


@pytest.fixture
def another(broker: Broker) -> Iterator[Connect]:
    """Return a function that opens more transports over the broker."""
    made: list[Transport] = []

    def make() -> Transport:
        made.append(connect(broker.url))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def transport(broker: Broker, another: Connect) -> Transport:
    """Return a transport over an empty broker."""
    broker.forget()
    transport = another()
    transport.wait_for_wakeup(0.01)
    transport.wait_for_wakeup(0.01)
    return transport


def some(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def pop_all(transport: Transport, queue: str) -> list[UUID]:
    taken: list[UUID] = []
    while more := transport.pop(queue, 16, 0.1):
        taken += more
    return taken


def take_all(transport: Transport, into: list[UUID]) -> None:
    into += pop_all(transport, "a")


def seconds(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def is_woken(transport: Transport) -> bool:
    """Return whether a wake-up ends an endless wait."""
    return waiting_for_wakeup(transport).wait(PATIENCE)


def waiting_for_wakeup(transport: Transport) -> threading.Event:
    """Return an event that is set after a wake-up, and not after a failed wait."""
    woken = threading.Event()

    def wait() -> None:
        with suppress(TransportError):
            transport.wait_for_wakeup(100 * PATIENCE)
            woken.set()

    threading.Thread(target=wait, daemon=True).start()
    return woken


def usable(transport: Transport) -> bool:
    """Return whether the transport works. While its broker is gone, it raises TransportError only."""
    try:
        transport.depths(QUEUES)
    except TransportError:
        return False
    return True


def test_ids_are_popped_in_their_order(transport: Transport, another: Connect) -> None:
    ids = some(256)

    transport.push("a", ids[:100])
    transport.push("a", ids[100:])

    assert pop_all(another(), "a") == ids


def test_pop_returns_at_most_its_limit_and_keeps_the_rest(transport: Transport, another: Connect) -> None:
    ids = some(10)
    transport.push("a", ids)
    taker = another()

    first = taker.pop("a", 3, 1)

    assert first == ids[:3]
    assert transport.depths(QUEUES)[1] == {"a": 7, "b": 0}
    assert pop_all(another(), "a") == ids[3:]


def test_queues_are_separate(transport: Transport) -> None:
    left, right = some(1), some(2)
    transport.push("a", left)
    transport.push("b", right)

    assert pop_all(transport, "a") == left
    assert pop_all(transport, "b") == right


def test_pop_waits_for_the_first_id(transport: Transport, another: Connect) -> None:
    (id,) = some(1)
    taken: list[UUID] = []
    waiter = another()
    waiter.depths(QUEUES)
    waiting = threading.Thread(target=lambda: taken.extend(waiter.pop("a", 5, PATIENCE)))
    waiting.start()

    transport.push("a", [id])
    waiting.join(PATIENCE)

    assert taken == [id]


def test_pop_of_empty_queue_ends_at_its_timeout(transport: Transport) -> None:
    assert seconds(lambda: transport.pop("a", 5, 0.3)) > 0.25  # clocks of brokers are coarser than ours


def test_consumers_share_a_queue(transport: Transport, another: Connect) -> None:
    ids = some(200)
    shares: list[list[UUID]] = [[], [], []]
    consumers = [threading.Thread(target=take_all, args=[another(), mine]) for mine in shares]
    for consumer in consumers:
        consumer.start()

    transport.push("a", ids)
    for consumer in consumers:
        consumer.join()

    assert sorted(shares[0] + shares[1] + shares[2] + pop_all(transport, "a")) == sorted(ids)


def test_present_lists_the_ids_or_is_unknown(transport: Transport) -> None:
    ids = some(3)
    transport.push("a", ids)

    assert transport.present(QUEUES) in (None, {"a": ids, "b": []})


FOREIGN = [b"x", b"", b"\xff\xfe", b"{" * 36, b"\xc3\xa9" * 18, b"A" * 1_000_000]


@pytest.mark.parametrize("contents", FOREIGN, ids=lambda contents: repr(contents[:4]))
def test_foreign_contents_of_a_queue_are_discarded_and_reported(
    transport: Transport, broker: Broker, contents: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = some(2)
    transport.push("a", [first])
    broker.inject("a", contents)
    transport.push("a", [second])

    assert transport.present(QUEUES) in (None, {"a": [first, second], "b": []})
    taken: list[UUID] = []
    while len(taken) < 2 and transport.depths(QUEUES)[1]["a"]:
        taken += transport.pop("a", 16, 1)  # a pop of foreign items only returns nothing

    assert taken == [first, second]
    assert "discarded 1 items" in caplog.text
    assert transport.depths(QUEUES)[1] == {"a": 0, "b": 0}


@pytest.mark.parametrize("name", ["companon:queue:a", "companon:epoch", "companon:wakeup"])
def test_key_or_queue_of_another_kind_is_replaced(
    another: Connect, broker: Broker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = another()
    broker.occupy(name)
    ids = some(3)

    refused = 0
    while refused < 3 and not works(transport, ids):
        refused += 1

    assert refused == 1
    assert f"deleted the {'queue' if broker.url.startswith('amqp') else 'key'} {name}" in caplog.text


def works(transport: Transport, ids: list[UUID]) -> bool:
    """Return whether every operation succeeds and the pushed ids are popped."""
    try:
        transport.wait_for_wakeup(0.01)
        transport.depths(QUEUES)
        transport.push("a", ids)
        return pop_all(transport, "a") == ids
    except TransportError:
        return False


def test_epoch_stays_while_no_id_is_lost(transport: Transport) -> None:
    first, _ = transport.depths(QUEUES)
    transport.push("a", some(3))
    pop_all(transport, "a")

    assert transport.depths(QUEUES)[0] == first


def test_emptied_broker_has_a_new_epoch(transport: Transport, broker: Broker) -> None:
    transport.push("a", some(3))
    first, before = transport.depths(QUEUES)

    broker.forget()

    second, after = transport.depths(QUEUES)
    assert (before["a"], after["a"]) == (3, 0)
    assert second != first
    assert transport.depths(QUEUES)[0] == second


def test_wakeup_ends_the_wait(transport: Transport, broker: Broker) -> None:
    notifier = wakeup.connect(broker.url)
    assert notifier.notify()
    transport.wait_for_wakeup(5)
    woken = waiting_for_wakeup(transport)

    assert notifier.notify()
    assert woken.wait(PATIENCE)


def test_wakeups_are_kept_and_merged(transport: Transport, broker: Broker) -> None:
    notifier = wakeup.connect(broker.url)
    for _ in range(50):
        notifier.notify()

    assert is_woken(transport)
    heard = 1
    while heard < 25 and seconds(lambda: transport.wait_for_wakeup(0.3)) < 0.25:
        heard += 1
    assert heard < 25


def test_wait_without_wakeup_ends_at_its_timeout(transport: Transport) -> None:
    assert seconds(lambda: transport.wait_for_wakeup(0.3)) > 0.25


def test_closed_transport_opens_again_on_use(transport: Transport) -> None:
    ids = some(2)
    transport.push("a", ids)

    transport.close()

    assert pop_all(transport, "a") == ids


def test_transports_and_notifiers_survive_a_broker_restart(
    transport: Transport, another: Connect, broker: Broker
) -> None:
    notifier, consumer = wakeup.connect(broker.url), another()
    transport.depths(QUEUES)
    consumer.pop("a", 5, 0.01)
    notifier.notify()

    broker.kill()
    rang, worked = notifier.notify(), usable(transport)
    with pytest.raises(TransportError):
        consumer.pop("a", 5, 0.1)
    broker.recover()

    assert (rang, worked) == (False, False)
    until(lambda: usable(transport) and usable(consumer))
    until(notifier.notify)
    ids = some(20)
    transport.push("a", ids)
    assert [id for id in pop_all(consumer, "a") if id in ids] == ids
    transport.wait_for_wakeup(0.01)
    assert notifier.notify()
    assert is_woken(transport)


def test_idle_connection_is_replaced_without_an_error(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "_STALE", 0.0)
    ids = some(2)

    transport.push("a", ids)

    assert pop_all(transport, "a") == ids


@pytest.mark.parametrize("url", ["kafka://localhost", "http://localhost", "redis", "sentinel://localhost:1"])
def test_url_of_unknown_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        connect(url)
    with pytest.raises(ValueError, match="URL"):
        wakeup.connect(url)
