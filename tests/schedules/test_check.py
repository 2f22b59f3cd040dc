"""Test that a schedule whose job could not run is refused with what to do, before the clock starts."""

from uuid import UUID

import pytest

from jobs.engine import actor
from schedules import clock
from schedules.check import require_runnable
from schedules.kinds import Every
from schedules.table import SCHEDULES


def hourly(name: str) -> Every:
    return Every(hours=1, do=name, catch_up="last", late_means="nothing")


@pytest.fixture(autouse=True)
def toys(temporary_actors: None) -> None:
    """Declare actors that a schedule can't or can run."""

    @actor("toy.brand")
    def of_a_brand() -> None:
        """Do nothing."""

    @actor("toy.one", runs_as="system")
    def of_one(note_id: UUID) -> None:
        """Do nothing."""

    @actor("toy.fine", runs_as="system")
    def fine() -> None:
        """Do nothing."""


def test_schedules_of_the_table_can_run() -> None:
    require_runnable(SCHEDULES)
    require_runnable([hourly("toy.fine")])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["toy.fnie"], r"there is no actor 'toy\.fnie': correct the name, or declare it with `@actor\(.*\)` in jobs/"),
        (
            ["toy.brand"],
            r"'toy\.brand' runs as a brand.* declare it with `@actor\(\"toy\.brand\", runs_as=\"system\"\)`",
        ),
        (["toy.one"], r"'toy\.one' takes arguments, and a scheduled job has none: query the values in its body"),
        (["toy.fine", "toy.fine"], r"'toy\.fine' has two schedules"),
    ],
    ids=["unknown", "of a brand", "with an argument", "twice"],
)
def test_schedule_of_actor_that_cannot_run_is_refused(names: list[str], text: str) -> None:
    with pytest.raises(TypeError, match=r"schedules/table\.py: " + text):
        require_runnable([hourly(name) for name in names])


def test_clock_with_wrong_schedule_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "SCHEDULES", [*SCHEDULES, hourly("toy.brand")])
    monkeypatch.setattr(clock, "run", lambda *_: pytest.fail("the clock runs"))

    with pytest.raises(TypeError, match=r"toy\.brand"):
        clock.main()
