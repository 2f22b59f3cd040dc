"""Upkeep of the audit trail by the seal process: storing checkpoints, and dropping entries that are old enough."""

import logging
from uuid import UUID

from jobs.audit.checkpoint_stores import store_at
from models.audit import checkpoints, retention
from models.audit.chain import Head
from models.core.context import for_sealer
from models.core.database import FLUSH, transaction

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds that one statement may take."""


class BrokenChain(Exception):
    """Entries differ from what was sealed. No entry of that chain is dropped until an operator has checked it."""


def store_checkpoint(url: str) -> list[int]:
    """Sign the heads of all chains and store them as a checkpoint outside the database. Store older checkpoints first.

    Make no checkpoint if the newest is younger than `checkpoints.AT_MOST_EVERY`.

    Args:
        url: the store, as `AUDIT_CHECKPOINT_URL` names it.

    Returns:
        The numbers of the checkpoints that have been stored.

    Raises:
        CheckpointConflict: the store has another checkpoint of that number, so the database is older.
        OSError: the store can't be reached or refuses the checkpoint.
    """
    with transaction(for_sealer(), timeout=TIMEOUT):
        checkpoints.take()
    return store_waiting(url)


def store_waiting(url: str) -> list[int]:
    """Store the checkpoints that are not stored yet, oldest first; return their numbers.

    Raises:
        CheckpointConflict: see `store_checkpoint`.
        OSError: see `store_checkpoint`.
    """
    # A checkpoint outside must not exist without its row: wait for the WAL flush.
    with transaction(for_sealer(), timeout=TIMEOUT, closing=FLUSH):
        waiting = checkpoints.unstored()
    store = store_at(url)
    for checkpoint in waiting:
        store.put(checkpoint.number, checkpoint.document)
        with transaction(for_sealer(), timeout=TIMEOUT):
            checkpoints.mark_stored(checkpoint.number)
    return [checkpoint.number for checkpoint in waiting]


def drop_outdated(url: str, years: int) -> bool:
    """Drop entries older than `years`, once a stored checkpoint covers them.

    Args:
        url: the store of checkpoints.
        years: how long entries are kept, in years; 0: for ever.

    Returns:
        Whether more are due than one run drops.

    Raises:
        BrokenChain: due entries differ from what was sealed; those of other chains have been dropped.
        OSError: the store can't be reached or refuses the checkpoint.
    """
    older_than = retention.cutoff(years)
    if older_than is None:
        return False
    with transaction(for_sealer(), timeout=TIMEOUT):
        _, starts = checkpoints.newest_stored()
        ends = retention.due(older_than, starts)
    whole = {chain_id: end for chain_id, end in ends.items() if _is_whole(chain_id, starts.get(chain_id, Head()), end)}
    if whole:
        with transaction(for_sealer(), timeout=TIMEOUT):
            retention.announce(whole, starts, older_than)
    store_waiting(url)
    drop_announced()
    if len(whole) < len(ends):
        raise BrokenChain(f"{len(ends) - len(whole)} chains are not as they were sealed")
    return any(end.seq - starts.get(chain_id, Head()).seq >= retention.MOST for chain_id, end in whole.items())


def _is_whole(chain_id: UUID, start: Head, end: Head) -> bool:
    with transaction(for_sealer(), timeout=TIMEOUT):
        broken = retention.break_in(chain_id, start, end)
    if broken is not None:
        logger.error("audit entry %d of chain %s is not as it was sealed", broken, chain_id)
    return broken is None


def drop_announced() -> None:
    """Delete the entries before the starts that the newest stored checkpoint names."""
    with transaction(for_sealer(), timeout=TIMEOUT):
        number, starts = checkpoints.newest_stored()
        for chain_id, start in starts.items():
            retention.begin_after(chain_id, start, number)
    for chain_id in starts:
        dropped = retention.BATCH
        while dropped == retention.BATCH:
            with transaction(for_sealer(), timeout=TIMEOUT):
                dropped = retention.drop(chain_id)
