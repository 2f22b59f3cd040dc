"""Letting go of what has been kept long enough."""

from jobs.engine import actor
from models.operations import housekeeping


@actor("requests.expire", runs_as="system")
def expire_answers() -> None:
    """Forget old answers kept for `Idempotency-Key`."""
    housekeeping.expire_answers()


@actor("jobs.prune", runs_as="system", time_limit=300.0)
def prune_jobs() -> None:
    """Forget old finished jobs."""
    housekeeping.prune_jobs()
