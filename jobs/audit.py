"""Sealing the audit trail, and watching that it is."""

import logging
from uuid import UUID

from jobs.checkpoint_stores import store_at
from jobs.engine import actor, own_transaction
from models import checkpoints, retention, seals
from models.jobs import enqueue
from models.seals import Head
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
    """Raise the alarm about entries that have waited too long for their seal, or nobody outside has been told of."""
    for brand_id, seconds in seals.unsealed_since(seals.OVERDUE):
        logger.error(
            "audit entries of %s have waited %.0f s for their seal",
            brand_id or "the platform",
            seconds,
            extra={"brand_id": str(brand_id) if brand_id else None},
        )
    seals.enqueue_missing()
    if checkpoints.gauges().checkpoint_overdue:
        logger.error("no checkpoint of the audit trail has been stored for %.0f s", checkpoints.OVERDUE)


@actor("audit.checkpoint", runs_as="system", outward=True, time_limit=120.0)
def checkpoint_chains() -> None:
    """Sign what every chain's head is, and store it outside the database; also what could not be stored before."""
    with own_transaction():
        checkpoints.take()
    _store()


def _store() -> None:
    with own_transaction():
        waiting = checkpoints.unstored()
    store = store_at(settings.audit_checkpoint_url)
    for checkpoint in waiting:
        store.put(checkpoint.number, checkpoint.document)
        with own_transaction():
            checkpoints.mark_stored(checkpoint.number)


class BrokenChain(Exception):
    """Entries are not as they were sealed. None of that chain goes until somebody has looked."""


@actor("audit.prune", runs_as="system", outward=True, time_limit=600.0)
def drop_outdated() -> None:
    """Let go of entries that have been kept for long enough, once a stored checkpoint carries their chains on."""
    older_than = retention.cutoff(settings.audit_retention_years)
    if older_than is None:
        return
    with own_transaction():
        _, starts = checkpoints.newest_stored()
        ends = retention.due(older_than, starts)
    whole = {chain_id: end for chain_id, end in ends.items() if _is_whole(chain_id, starts.get(chain_id, Head()), end)}
    if whole:
        with own_transaction():
            retention.announce(whole, starts, older_than)
    _store()
    _drop()
    if any(end.seq - starts.get(chain_id, Head()).seq >= retention.MOST for chain_id, end in whole.items()):
        with own_transaction():
            enqueue("audit.prune")
    if len(whole) < len(ends):
        raise BrokenChain(f"{len(ends) - len(whole)} chains are not as they were sealed")


def _is_whole(chain_id: UUID, start: Head, end: Head) -> bool:
    with own_transaction():
        broken = retention.break_in(chain_id, start, end)
    if broken is not None:
        logger.error("audit entry %d of chain %s is not as it was sealed", broken, chain_id)
    return broken is None


def _drop() -> None:
    """Delete what the newest stored checkpoint says is not held any more."""
    with own_transaction():
        number, starts = checkpoints.newest_stored()
        for chain_id, start in starts.items():
            retention.begin_after(chain_id, start, number)
    for chain_id, start in starts.items():
        dropped = retention.BATCH
        while dropped == retention.BATCH:
            with own_transaction():
                dropped = retention.drop(chain_id, start)
