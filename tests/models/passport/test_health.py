"""Test the breaker and the retry budget: their rules, and the state that processes share through Redis."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from models.passport import health
from models.passport.health import Admission, Health, HealthStore, Rules
from tests.support.brokers import OneRedis

RULES = Rules(window=30, min_calls=4, failure_share=0.5, open_for=15, probe_for=60, retry_share=0.2, min_retries=2)
NOW = 1_800_000_000.0


class Clock:
    """A clock that tests move."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        client.delete("passport:health:vendor")
    return redis_url


def call(store: HealthStore, *, failed: bool, is_retry: bool = False) -> str:
    """Make a call. Return `sent`, or the reason for which it was not sent."""
    admission = store.admit("vendor", is_retry=is_retry)
    if admission.refusal is not None:
        return admission.refusal
    store.settle("vendor", failed=failed, is_probe=admission.is_probe)
    return "sent"


def test_breaker_opens_at_the_failure_share_of_enough_calls(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)

    outcomes = [call(store, failed=failed) for failed in (True, False, False, True, True)]

    assert outcomes == ["sent"] * 4 + ["circuit_open"]
    assert store.read("vendor")[0].state(clock()) == "open"


def test_breaker_stays_closed_below_the_failure_share(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)

    assert {call(store, failed=number % 3 == 2) for number in range(30)} == {"sent"}


def test_failures_of_an_earlier_window_do_not_count(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)
    for _ in range(3):
        call(store, failed=True)

    clock.now += 2 * RULES.window

    assert call(store, failed=True) == "sent"
    assert store.read("vendor")[0].state(clock()) == "closed"


def test_half_open_breaker_sends_one_probe_and_closes_on_success(url: str, clock: Clock) -> None:
    here, there = HealthStore(url, RULES, clock), HealthStore(url, RULES, clock)
    for _ in range(4):
        call(here, failed=True)

    clock.now += RULES.open_for
    probe, second = here.admit("vendor", is_retry=False), there.admit("vendor", is_retry=False)
    here.settle("vendor", failed=False, is_probe=True)

    assert (probe.is_probe, second.refusal) == (True, "circuit_open")
    assert call(there, failed=False) == "sent"
    assert there.read("vendor")[0].state(clock()) == "closed"


def test_failed_probe_opens_the_breaker_again(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)
    for _ in range(4):
        call(store, failed=True)

    clock.now += RULES.open_for
    outcomes = [call(store, failed=True), call(store, failed=False)]

    assert outcomes == ["sent", "circuit_open"]
    assert store.read("vendor")[0].open_until == clock.now + RULES.open_for


def test_lost_probe_is_replaced_after_its_time(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)
    for _ in range(4):
        call(store, failed=True)
    clock.now += RULES.open_for
    store.admit("vendor", is_retry=False)

    early = store.admit("vendor", is_retry=False).refusal
    clock.now += RULES.probe_for

    assert early == "circuit_open"
    assert store.admit("vendor", is_retry=False).is_probe


def test_retries_beyond_their_share_are_not_sent(url: str, clock: Clock) -> None:
    store = HealthStore(url, RULES, clock)

    first = [call(store, failed=False, is_retry=True) for _ in range(3)]
    for _ in range(18):
        call(store, failed=False)
    later = [call(store, failed=False, is_retry=True) for _ in range(4)]

    assert first == ["sent", "sent", "retry_budget"]
    assert later == ["sent", "sent", "sent", "retry_budget"]


class Process:
    """A process with a health store of its own."""

    def __init__(self, url: str) -> None:
        fork = multiprocessing.get_context("fork")
        self._executor = ProcessPoolExecutor(1, mp_context=fork, initializer=_begin, initargs=(url,))

    def call(self, *, failed: bool = False, at: float = NOW) -> str:
        """Make a call at a time in the process. Return `sent`, or the reason for which it was not sent."""
        return self._executor.submit(_call, failed, at).result()

    def admit(self, at: float) -> Admission:
        """Ask for a call without reporting its outcome."""
        return self._executor.submit(_admit, at).result()

    def state(self, at: float = NOW) -> tuple[str, bool]:
        """Return the state of the breaker in the process, and whether it is shared."""
        return self._executor.submit(_state, at).result()

    def stop(self) -> None:
        """End the process."""
        self._executor.shutdown()


_stores: list[HealthStore] = []
"""The store of a process."""


def _begin(url: str) -> None:
    health._REDIS_AGAIN_AFTER = 0.0
    _stores.append(HealthStore(url, RULES, Clock()))


def _at(at: float) -> HealthStore:
    _stores[0].clock = lambda: at
    return _stores[0]


def _call(failed: bool, at: float) -> str:
    return call(_at(at), failed=failed)


def _admit(at: float) -> Admission:
    return _at(at).admit("vendor", is_retry=False)


def _state(at: float) -> tuple[str, bool]:
    found, is_shared = _at(at).read("vendor")
    return found.state(at), is_shared


@pytest.fixture
def processes(server: OneRedis) -> Iterator[list[Process]]:
    """Return two processes over one Redis, which the test may kill."""
    started = [Process(server.url) for _ in range(2)]
    yield started
    for one in started:
        one.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OneRedis]:
    """Return a Redis of the test."""
    started = OneRedis(tmp_path)
    started.start()
    yield started
    started.stop()


def test_processes_share_the_breaker_and_go_on_alone_without_redis(server: OneRedis, processes: list[Process]) -> None:
    here, there = processes
    for process in (here, there, here, there):
        process.call(failed=True)
    shared = [process.call() for process in processes]
    later = NOW + RULES.open_for
    probes = [process.admit(later) for process in processes]

    server.kill()
    alone = [process.call(failed=True, at=later) for process in (here, here, here, here, here, there)]
    states = [process.state(later) for process in processes]
    server.recover()
    again = [process.state(later) for process in processes]

    assert shared == ["circuit_open"] * 2
    assert [(probe.is_probe, probe.refusal) for probe in probes] == [(True, None), (False, "circuit_open")]
    assert alone == ["sent"] * 4 + ["circuit_open", "sent"]
    assert states == [("open", False), ("closed", False)]
    assert again == [("closed", True)] * 2  # this Redis has lost its data


def test_unreadable_state_counts_as_healthy(url: str, clock: Clock) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("passport:health:vendor", b"\xff not ours")

    assert call(HealthStore(url, RULES, clock), failed=False) == "sent"


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 40)), max_size=60))
def test_calls_are_counted_exactly_and_probes_are_single(steps: list[tuple[bool, bool, float]]) -> None:
    state, now, probing_until = Health(), NOW, 0.0
    for failed, is_retry, passed in steps:
        now += passed
        state, admission = health.admit(state, RULES, now, is_retry=is_retry)
        if admission.refusal == "circuit_open":
            assert admission.wait > 0
            assert state.open_until > now or probing_until > now
        if admission.is_probe:
            assert probing_until <= now
            probing_until = now + RULES.probe_for
        if admission.refusal is None and not (admission.is_probe and is_retry):
            state = health.settle(state, RULES, now, failed=failed, is_probe=admission.is_probe)
            probing_until = 0.0 if admission.is_probe else probing_until
        assert state.counts.failures <= state.counts.calls
        assert state.counts.retries <= state.counts.calls
