"""Test the breaker and the retry budget: their rules, and the state that processes share through Redis."""

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from models.passport import health
from models.passport.health import Health, HealthStore, Rules
from scripts.devstack import sockets

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


def test_processes_share_the_breaker_through_redis(url: str, clock: Clock) -> None:
    here, there = HealthStore(url, RULES, clock), HealthStore(url, RULES, clock)

    for store in (here, there, here, there):
        call(store, failed=True)

    assert [call(store, failed=False) for store in (here, there)] == ["circuit_open"] * 2
    assert here.read("vendor")[1] is True


def test_each_process_has_its_own_breaker_without_redis(clock: Clock) -> None:
    nowhere = f"redis://127.0.0.1:{sockets.free_port()}/0"
    here, there = HealthStore(nowhere, RULES, clock), HealthStore(nowhere, RULES, clock)

    for _ in range(4):
        call(here, failed=True)

    assert (call(here, failed=False), call(there, failed=False)) == ("circuit_open", "sent")
    assert here.read("vendor")[1] is False


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
