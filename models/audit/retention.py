"""Retention of the audit trail: delete expired entries without breaking the chains.

The oldest entries of each chain are deleted, up to a limit per run (`expired_ends`). Before that, they are verified
once more, and a signed checkpoint that is stored outside the database names the last deleted entry of each chain: its
*start*. The database refuses every other deletion (`app.require_expired_entry`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from models.audit import chain, checkpoints, trail
from models.audit.chain import PLATFORM, Head
from models.audit.checkpoints import Checkpoint
from models.core.database import execute, now, row, rows, value

MAX_PER_RUN = 50_000
"""Entries of one chain that one run deletes."""

BATCH = 5_000
"""Entries that one transaction deletes."""

Starts = Mapping[UUID, Head]
"""The last deleted entry of each chain. Complete chains are not named."""

_MARGIN = timedelta(days=1)
"""Entries are numbered in the order of their commits, a moment after their times. A day is more than that moment."""

_EXPIRED = """
    SELECT c.chain_id, old.seq FROM app.audit_chains c CROSS JOIN LATERAL (
        SELECT l.seq FROM public.audit_logs l
        WHERE l.seq IS NOT NULL AND l.timestamp < %s AND l.brand_id = c.chain_id ORDER BY l.seq DESC LIMIT 1
    ) AS old
    UNION ALL
    (SELECT %s::uuid, l.seq FROM public.audit_logs l
    WHERE l.seq IS NOT NULL AND l.timestamp < %s AND l.brand_id IS NULL ORDER BY l.seq DESC LIMIT 1)
"""
_ENTRY = """
    SELECT seq, mac FROM public.audit_logs
    WHERE coalesce(brand_id, '00000000-0000-0000-0000-000000000000') = %s AND seq = %s
"""


def cutoff(years: int) -> datetime | None:
    """Return the time before which entries have been kept for `years`; None for 0 years: entries never expire."""
    return now() - timedelta(days=366) * years - _MARGIN if years > 0 else None


def expired_ends(older_than: datetime, starts: Starts) -> dict[UUID, Head]:
    """Return the last expired entry of each chain, at most `MAX_PER_RUN` after its start.

    Chains without expired entries are not named.
    """
    found = rows(_EXPIRED, (older_than, PLATFORM, older_than))
    ends = {}
    for chain_id, seq in ((expired["chain_id"], expired["seq"]) for expired in found):
        start = starts.get(chain_id, Head())
        if seq > start.seq:
            end = row(_ENTRY, (chain_id, min(seq, start.seq + MAX_PER_RUN)))
            assert end is not None
            ends[chain_id] = Head(end["seq"], bytes(end["mac"]))
    return ends


def announce(ends: Starts, starts: Starts, older_than: datetime) -> Checkpoint:
    """Create the checkpoint that names `ends` as starts. Record the deletion in each chain."""
    for chain_id, end in ends.items():
        start = starts.get(chain_id, Head())
        trail.record(
            "audit.prune",
            table="audit_logs",
            before={"held_after": start.seq},
            after={"held_after": end.seq, "entries": end.seq - start.seq, "older_than": older_than},
            brand_id=None if chain_id == PLATFORM else chain_id,
        )
    created = checkpoints.create(starts=ends, min_age=timedelta())
    assert created is not None
    return created


def begin_chain_after(chain_id: UUID, start: Head, checkpoint: int) -> None:
    """Release a chain's entries up to `start` for deletion. The stored checkpoint of this number must name `start`."""
    execute("SELECT app.begin_chain_after(%s, %s, %s, %s)", (chain_id, start.seq, start.mac, checkpoint))


def chain_starts() -> dict[UUID, int]:
    """Return the number of the last deleted entry of each chain that is not complete."""
    return {start["chain_id"]: start["seq"] for start in rows("SELECT chain_id, seq FROM app.audit_starts")}


def delete_expired(chain_id: UUID) -> int:
    """Delete up to `BATCH` released entries and their personal values, oldest first. Return their number."""
    return int(value("SELECT app.delete_expired_entries(%s, %s)", (chain_id, BATCH)))


def find_break(chain_id: UUID, after: Head, end: Head) -> int | None:
    """Return the sequence number at which a chain is broken between two entries; None if it is intact."""
    last = after
    while last.seq < end.seq:
        limit = min(chain.BATCH, end.seq - last.seq)
        entries = chain.sealed_entries(None if chain_id == PLATFORM else chain_id, after=last.seq, limit=limit)
        if not entries:
            return last.seq + 1
        broken = chain.verify(entries, after=last)
        if broken is not None:
            return broken
        last = Head(entries[-1]["seq"], entries[-1]["mac"])
    return None if last == end else end.seq
