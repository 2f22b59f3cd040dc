"""Due times of schedules and their catch-up policies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules.kinds import CatchUp, Daily, Every, Schedule

start = datetime(2026, 2, 1, tzinfo=UTC)
moments = st.integers(0, 4 * 365 * 86_400_000).map(lambda ms: start + timedelta(milliseconds=ms))
schedules = st.one_of(
    st.builds(lambda s: Every(seconds=s, do="t.x", catch_up="all", late_means=""), st.integers(1, 90_000)),
    st.builds(
        lambda h, m: Daily(at=f"{h:02}:{m:02}", do="t.x", catch_up="all", late_means=""),
        st.integers(0, 23),
        st.integers(0, 59),
    ),
)


def hourly(catch_up: CatchUp) -> Schedule:
    return Every(hours=1, do="t.x", catch_up=catch_up, late_means="")


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 6, 1, hour, minute, second, tzinfo=UTC)


@given(schedules, moments)
def test_previous_occurrence_is_the_newest_due_one(schedule: Schedule, moment: datetime) -> None:
    previous = schedule.previous(moment)

    assert previous <= moment < previous + schedule.period
    assert schedule.previous(previous) == previous


@given(schedules, moments, st.timedeltas(timedelta(), timedelta(hours=3)))
def test_enqueued_occurrence_is_not_missed_again(schedule: Schedule, last: datetime, outage: timedelta) -> None:
    newest = schedule.previous(last + outage)

    assert list(schedule.missed(newest, last + outage)) == []


@given(schedules, moments, st.integers(0, 20))
def test_catch_up_all_yields_missed_occurrences_in_order(schedule: Schedule, moment: datetime, periods: int) -> None:
    last = schedule.previous(moment)

    missed = list(schedule.missed(last, last + periods * schedule.period))

    assert missed == [last + n * schedule.period for n in range(1, periods + 1)]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [("all", [at(8), at(9), at(10)]), ("last", [at(10)]), ("none", [])],
    ids=["all", "last", "none"],
)
def test_catch_up_policy_decides_after_an_outage(catch_up: CatchUp, expected: list[datetime]) -> None:
    assert list(hourly(catch_up).missed(at(7), at(10, 20))) == expected


@pytest.mark.parametrize("catch_up", ["all", "last", "none"])
def test_current_occurrence_is_enqueued_under_every_policy(catch_up: CatchUp) -> None:
    assert list(hourly(catch_up).missed(at(9), at(10, 0, 1))) == [at(10)]


def test_new_schedule_starts_with_its_newest_occurrence() -> None:
    assert list(hourly("all").missed(None, at(10, 20))) == [at(10)]
