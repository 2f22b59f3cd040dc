"""Actors of the domain operations: delete rows whose retention is over."""

from jobs.engine import actor
from models.operations import housekeeping


@actor("requests.expire", runs_as="system")
def expire_answers() -> None:
    """Delete expired answers stored for `Idempotency-Key`."""
    housekeeping.expire_answers()


@actor("jobs.prune", runs_as="system", time_limit=300.0)
def prune_jobs() -> None:
    """Delete finished jobs, dead letters, job keys and heartbeats whose retention is over."""
    housekeeping.prune_jobs()
