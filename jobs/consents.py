"""Actors of the domain consents."""

from jobs.engine import actor
from models.consents import consents, uses
from models.jobs.ledger import enqueue

BATCH = 1000


@actor("consents.expire", runs_as="system")
def expire_consents() -> None:
    """Close one batch of expired consents; enqueue the next batch if this one was full."""
    if consents.expire(BATCH) == BATCH:
        enqueue("consents.expire")


@actor("consents.expire_uses", runs_as="system", time_limit=300.0)
def expire_uses() -> None:
    """Delete old records of uses of personal data."""
    uses.expire()
