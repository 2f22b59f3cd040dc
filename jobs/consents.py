"""Consents: what of them runs out."""

from jobs.engine import actor
from models.consents import consents
from models.jobs.ledger import enqueue

BATCH = 1000


@actor("consents.expire", runs_as="system")
def expire_consents() -> None:
    """Write down which consents have run out, a batch at a time."""
    if consents.expire(BATCH) == BATCH:
        enqueue("consents.expire")
