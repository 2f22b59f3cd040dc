"""What every transport does, whatever broker the URL names."""

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
    """More transports over the broker."""
    made: list[Transport] = []

    def make() -> Transport:
        made.append(connect(broker.url))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def transport(broker: Broker, another: Connect) -> Transport:
    """A transport over the broker, which holds nothing."""
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
    """Whether somebody who would wait at the doorbell for ever goes on."""
    return waiting_for_wakeup(transport).wait(PATIENCE)


def waiting_for_wakeup(transport: Transport) -> threading.Event:
    """What is set when it has rung, and not when waiting for it has failed."""
    woken = threading.Event()

    def wait() -> None:
        with suppress(TransportError):
            transport.wait_for_wakeup(100 * PATIENCE)
            woken.set()

    threading.Thread(target=wait, daemon=True).start()
    return woken


def usable(transport: Transport) -> bool:
    """Whether it works; while its broker is gone it says so in one way."""
    try:
        transport.depths(QUEUES)
    except TransportError:
        return False
    return True


def test_ids_come_out_in_the_order_they_went_in(transport: Transport, another: Connect) -> None:
    ids = some(256)

    transport.push("a", ids[:100])
    transport.push("a", ids[100:])

    assert pop_all(another(), "a") == ids


def test_a_pop_takes_no_more_than_it_asks_for_and_the_rest_keeps_its_place(
    transport: Transport, another: Connect
) -> None:
    ids = some(10)
    transport.push("a", ids)
    taker = another()

    first = taker.pop("a", 3, 1)

    assert first == ids[:3]
    assert transport.depths(QUEUES)[1] == {"a": 7, "b": 0}
    assert pop_all(another(), "a") == ids[3:]


def test_queues_know_nothing_of_each_other(transport: Transport) -> None:
    left, right = some(1), some(2)
    transport.push("a", left)
    transport.push("b", right)

    assert pop_all(transport, "a") == left
    assert pop_all(transport, "b") == right


def test_a_pop_waits_until_something_comes(transport: Transport, another: Connect) -> None:
    (id,) = some(1)
    taken: list[UUID] = []
    waiter = another()
    waiter.depths(QUEUES)
    waiting = threading.Thread(target=lambda: taken.extend(waiter.pop("a", 5, PATIENCE)))
    waiting.start()

    transport.push("a", [id])
    waiting.join(PATIENCE)

    assert taken == [id]


def test_a_pop_of_nothing_gives_up_when_it_is_time(transport: Transport) -> None:
    assert seconds(lambda: transport.pop("a", 5, 0.3)) > 0.25  # brokers' clocks tick more coarsely than ours


def test_consumers_share_what_there_is(transport: Transport, another: Connect) -> None:
    ids = some(200)
    shares: list[list[UUID]] = [[], [], []]
    consumers = [threading.Thread(target=take_all, args=[another(), mine]) for mine in shares]
    for consumer in consumers:
        consumer.start()

    transport.push("a", ids)
    for consumer in consumers:
        consumer.join()

    assert sorted(shares[0] + shares[1] + shares[2] + pop_all(transport, "a")) == sorted(ids)


def test_what_lies_in_a_queue_is_told_or_is_unknown(transport: Transport) -> None:
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
        taken += transport.pop("a", 16, 1)  # one that takes nothing but foreign contents returns nothing

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
    """Whether every operation succeeds and the pushed ids come out."""
    try:
        transport.wait_for_wakeup(0.01)
        transport.depths(QUEUES)
        transport.push("a", ids)
        return pop_all(transport, "a") == ids
    except TransportError:
        return False


def test_the_epoch_stays_as_long_as_nothing_is_lost(transport: Transport) -> None:
    first, _ = transport.depths(QUEUES)
    transport.push("a", some(3))
    pop_all(transport, "a")

    assert transport.depths(QUEUES)[0] == first


def test_a_broker_that_has_lost_everything_has_another_epoch(transport: Transport, broker: Broker) -> None:
    transport.push("a", some(3))
    first, before = transport.depths(QUEUES)

    broker.forget()

    second, after = transport.depths(QUEUES)
    assert (before["a"], after["a"]) == (3, 0)
    assert second != first
    assert transport.depths(QUEUES)[0] == second


def test_the_doorbell_wakes_who_waits(transport: Transport, broker: Broker) -> None:
    notifier = wakeup.connect(broker.url)
    assert notifier.notify()
    transport.wait_for_wakeup(5)
    woken = waiting_for_wakeup(transport)

    assert notifier.notify()
    assert woken.wait(PATIENCE)


def test_a_ring_that_nobody_heard_is_heard_later_and_many_are_few(transport: Transport, broker: Broker) -> None:
    notifier = wakeup.connect(broker.url)
    for _ in range(50):
        notifier.notify()

    assert is_woken(transport)
    heard = 1
    while heard < 25 and seconds(lambda: transport.wait_for_wakeup(0.3)) < 0.25:
        heard += 1
    assert heard < 25


def test_without_a_ring_the_wait_ends_when_it_is_time(transport: Transport) -> None:
    assert seconds(lambda: transport.wait_for_wakeup(0.3)) > 0.25


def test_a_closed_transport_opens_again_when_it_is_used(transport: Transport) -> None:
    ids = some(2)
    transport.push("a", ids)

    transport.close()

    assert pop_all(transport, "a") == ids


def test_transports_and_doorbells_outlive_their_broker(transport: Transport, another: Connect, broker: Broker) -> None:
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


def test_a_connection_that_lay_idle_is_made_anew_without_an_error(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "_STALE", 0.0)
    ids = some(2)

    transport.push("a", ids)

    assert pop_all(transport, "a") == ids


@pytest.mark.parametrize("url", ["kafka://localhost", "http://localhost", "redis", "sentinel://localhost:1"])
def test_a_url_that_leads_to_no_broker_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        connect(url)
    with pytest.raises(ValueError, match="URL"):
        wakeup.connect(url)
