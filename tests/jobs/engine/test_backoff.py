"""Test retries of failed jobs: delays and limits."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.registry import ActorSpec


def body() -> None:
    """Do nothing."""


@given(
    waits=st.lists(st.floats(0.1, 10_000), min_size=1, max_size=6),
    hours=st.integers(1, 100),
    most=st.none() | st.integers(1, 50),
)
def test_retries_follow_waits_until_the_first_limit(waits: list[float], hours: int, most: int | None) -> None:
    period = timedelta(hours=hours)
    spec = ActorSpec(name="x", body=body, parameters=(), max_attempts=most, give_up_after=period, waits=tuple(waits))
    created = datetime(2026, 1, 1, tzinfo=UTC)
    due, attempt = created, 1

    while attempt < 200:
        wait, base = spec.wait_after(attempt), waits[min(attempt, len(waits)) - 1]
        assert base <= wait <= base * 1.1
        due += timedelta(seconds=wait)
        allowed = spec.may_retry(attempt, created, due)
        assert allowed == (due - created <= period and (most is None or attempt < most))
        if not allowed:
            break
        attempt += 1
