"""Actors of Passport: delete records whose retention is over."""

from jobs.engine import actor
from models.passport import calls


@actor("passport.expire", runs_as="system", time_limit=300.0)
def expire_calls() -> None:
    """Delete old records of calls and old answers of local services."""
    calls.expire()
