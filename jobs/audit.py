"""Sealing the audit trail, and watching that it is."""

import logging
from uuid import UUID

from jobs.checkpoint_stores import store_at
from jobs.engine import actor, own_transaction
from models import checkpoints, seals
from settings import settings

logger = logging.getLogger(__name__)

BATCHES = 20
"""Batches that one job seals; more are left to the next one, so that none holds a chain for long."""


@actor("audit.seal", runs_as="system", time_limit=60.0)
def seal_entries(brand_id: UUID | None) -> None:
    """Seal a tenant's entries (null: the platform's) into its chain."""
    for _ in range(BATCHES):
        if seals.seal(brand_id) < seals.BATCH:
            return


@actor("audit.sweep", runs_as="system")
def sweep_unsealed() -> None:
    """Raise the alarm about entries that have waited too long for their seal, and ask once more for it."""
    for brand_id, seconds in seals.unsealed_since(seals.OVERDUE):
        logger.error(
            "audit entries of %s have waited %.0f s for their seal",
            brand_id or "the platform",
            seconds,
            extra={"brand_id": str(brand_id) if brand_id else None},
        )
    seals.enqueue_missing()


@actor("audit.checkpoint", runs_as="system", outward=True, time_limit=120.0)
def checkpoint_chains() -> None:
    """Sign what every chain's head is, and store it outside the database; also what could not be stored before."""
    with own_transaction():
        checkpoints.take()
    with own_transaction():
        waiting = checkpoints.unstored()
    store = store_at(settings.audit_checkpoint_url)
    for checkpoint in waiting:
        store.put(checkpoint.number, checkpoint.document)
        with own_transaction():
            checkpoints.mark_stored(checkpoint.number)
