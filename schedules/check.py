"""Refuse a schedule whose job could not run."""

from collections.abc import Sequence

from jobs.engine import registry
from schedules.kinds import Schedule


def require_runnable(schedules: Sequence[Schedule]) -> None:
    """Check that each schedule names an actor of its own that runs without arguments and without a brand or fan.

    Every actor must be declared before the call (`import jobs.actors`).

    Raises:
        TypeError: the job of a schedule could not run. The message says what to do.
    """
    known: set[str] = set()
    for schedule in schedules:
        if schedule.do in known:
            raise TypeError(f"schedules/table.py: {schedule.do!r} has two schedules: an actor has at most one")
        known.add(schedule.do)
        if fault := _fault(schedule.do):
            raise TypeError(f"schedules/table.py: {fault}")


def _fault(name: str) -> str:
    """Return why a scheduled job of this actor could not run; empty if it can."""
    spec = registry.find(name)
    if spec is None:
        return (
            f'there is no actor {name!r}: correct the name, or declare it with `@actor("{name}", runs_as="system")` in'
            " jobs/<domain>.py"
        )
    if spec.parameters:
        return f"{name!r} takes arguments, and a scheduled job has none: query the values in its body"
    if spec.runs_as != "system":
        return (
            f"{name!r} runs as a {spec.runs_as}, and a scheduled job has none: declare it with"
            f' `@actor("{name}", runs_as="system")`'
        )
    return ""
