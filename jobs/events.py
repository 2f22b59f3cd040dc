"""Actors of events."""

from jobs.engine import actor
from models.passport import concierto


@actor("events.expire", runs_as="system", time_limit=300.0)
def expire_events() -> None:
    """Delete events that are long over."""
    concierto.expire()
