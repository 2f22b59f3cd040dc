"""Maintain the audit trail: store checkpoints outside the database and delete expired entries."""

import logging
from uuid import UUID

from jobs.audit.stores.by_url import store_at
from models.audit import checkpoints, retention
from models.audit.chain import Head
from models.core.context import for_sealer
from models.core.database import FLUSH, transaction

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds that one statement may take."""


class BrokenChain(Exception):
    """Entries differ from the sealed ones. No entry of the chain is deleted until an operator has checked it."""


def store_checkpoint(url: str) -> list[int]:
    """Sign the heads of all chains and store them as a checkpoint outside the database. Store older checkpoints first.

    Create no checkpoint if the newest is younger than `checkpoints.MIN_INTERVAL`.

    Args:
        url: the store, as `AUDIT_CHECKPOINT_URL` names it.

    Returns:
        The numbers of the checkpoints stored by this call.

    Raises:
        CheckpointConflict: the store has another checkpoint of this number, so the database was restored from a backup.
        OSError: the store can't be reached or refuses the checkpoint.
    """
    with transaction(for_sealer(), timeout=TIMEOUT):
        checkpoints.create()
    return store_pending(url)


def store_pending(url: str) -> list[int]:
    """Store the checkpoints that are not stored yet, oldest first. Return their numbers.

    Raises:
        CheckpointConflict: the store has another checkpoint of this number, so the database was restored from a backup.
        OSError: the store can't be reached or refuses the checkpoint.
    """
    # Wait for the WAL flush. Otherwise a crash could lose the row of a checkpoint that is stored outside.
    with transaction(for_sealer(), timeout=TIMEOUT, closing=FLUSH):
        pending = checkpoints.unstored()
    store = store_at(url)
    for checkpoint in pending:
        store.put(checkpoint.number, checkpoint.document)
        with transaction(for_sealer(), timeout=TIMEOUT):
            checkpoints.mark_stored(checkpoint.number)
    return [checkpoint.number for checkpoint in pending]


def delete_expired(url: str, years: int) -> bool:
    """Delete entries older than `years`, after a stored checkpoint has named the new starts of their chains.

    Args:
        url: the store of checkpoints.
        years: the retention in years; 0: entries never expire.

    Returns:
        Whether more entries have expired than one run deletes.

    Raises:
        BrokenChain: expired entries differ from the sealed ones; those of other chains have been deleted.
        OSError: the store can't be reached or refuses the checkpoint.
    """
    older_than = retention.cutoff(years)
    if older_than is None:
        return False
    with transaction(for_sealer(), timeout=TIMEOUT):
        _, starts = checkpoints.newest_stored()
        ends = retention.expired_ends(older_than, starts)
    intact = {id: end for id, end in ends.items() if _is_intact(id, starts.get(id, Head()), end)}
    if intact:
        with transaction(for_sealer(), timeout=TIMEOUT):
            retention.announce(intact, starts, older_than)
    store_pending(url)
    delete_announced()
    if len(intact) < len(ends):
        raise BrokenChain(f"{len(ends) - len(intact)} chains differ from the sealed entries")
    return any(end.seq - starts.get(chain_id, Head()).seq >= retention.MAX_PER_RUN for chain_id, end in intact.items())


def _is_intact(chain_id: UUID, start: Head, end: Head) -> bool:
    with transaction(for_sealer(), timeout=TIMEOUT):
        broken = retention.find_break(chain_id, start, end)
    if broken is not None:
        logger.error("audit entry %d of chain %s differs from the sealed entry", broken, chain_id)
    return broken is None


def delete_announced() -> None:
    """Delete the entries before the starts that the newest stored checkpoint names."""
    with transaction(for_sealer(), timeout=TIMEOUT):
        number, starts = checkpoints.newest_stored()
        for chain_id, start in starts.items():
            retention.begin_chain_after(chain_id, start, number)
    for chain_id in starts:
        deleted = retention.BATCH
        while deleted == retention.BATCH:
            with transaction(for_sealer(), timeout=TIMEOUT):
                deleted = retention.delete_expired(chain_id)
