"""How long the audit trail is kept, and how what is older leaves it without breaking its chains.

Of each chain the oldest entries go, up to one that is `due`. Before they do, they are verified once more, and a signed
checkpoint that is stored outside the database says after which entry the chain is held from then on: its *start*. The
database lets nobody delete anything else (`app.require_expired_entry`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from models.audit import chain as seals
from models.audit import checkpoints, trail
from models.audit.chain import PLATFORM, Head
from models.audit.checkpoints import Checkpoint
from models.core.database import execute, now, row, rows, value

MOST = 50_000
"""Entries of one chain that go in one run."""

BATCH = 5_000
"""Entries that one transaction deletes."""

Starts = Mapping[UUID, Head]
"""The last entry of each chain that is not held any more; a chain that is held from its beginning isn't named."""

# Entries get their numbers in the order of their commits, and their times a moment before: a day is more than that.
_MARGIN = timedelta(days=1)

_DUE = """
    SELECT c.chain_id, old.seq FROM app.audit_chains c CROSS JOIN LATERAL (
        SELECT l.seq FROM public.audit_logs l
        WHERE l.seq IS NOT NULL AND l.timestamp < %s AND l.brand_id = c.chain_id ORDER BY l.seq DESC LIMIT 1
    ) AS old
    UNION ALL
    (SELECT %s::uuid, l.seq FROM public.audit_logs l
    WHERE l.seq IS NOT NULL AND l.timestamp < %s AND l.brand_id IS NULL ORDER BY l.seq DESC LIMIT 1)
"""
_AT = """
    SELECT seq, mac FROM public.audit_logs
    WHERE coalesce(brand_id, '00000000-0000-0000-0000-000000000000') = %s AND seq = %s
"""


def cutoff(years: int) -> datetime | None:
    """What is older has been kept for that many years; None if it is kept for ever (0)."""
    return now() - timedelta(days=366) * years - _MARGIN if years > 0 else None


def due(older_than: datetime, starts: Starts) -> dict[UUID, Head]:
    """Up to where each chain's entries are older, as far as one run goes; chains that have none aren't named."""
    found = rows(_DUE, (older_than, PLATFORM, older_than))
    ends = {}
    for chain_id, seq in ((chain["chain_id"], chain["seq"]) for chain in found):
        start = starts.get(chain_id, Head())
        if seq > start.seq:
            end = row(_AT, (chain_id, min(seq, start.seq + MOST)))
            assert end is not None
            ends[chain_id] = Head(end["seq"], bytes(end["mac"]))
    return ends


def announce(ends: Starts, starts: Starts, older_than: datetime) -> Checkpoint:
    """Make the checkpoint that says that chains are held after these entries, and an entry of it in each chain."""
    for chain_id, end in ends.items():
        start = starts.get(chain_id, Head())
        trail.record(
            "audit.prune",
            table="audit_logs",
            before={"held_after": start.seq},
            after={"held_after": end.seq, "entries": end.seq - start.seq, "older_than": older_than},
            brand_id=None if chain_id == PLATFORM else chain_id,
        )
    made = checkpoints.take(starts=ends, unless_younger_than=timedelta())
    assert made is not None
    return made


def begin_after(chain_id: UUID, start: Head, checkpoint: int) -> None:
    """Let go of a chain's entries up to `start`, which a stored checkpoint says it is held after."""
    execute("SELECT app.begin_chain_after(%s, %s, %s, %s)", (chain_id, start.seq, start.mac, checkpoint))


def begun() -> dict[UUID, int]:
    """After which number each chain is held, of those that are not held from their beginning."""
    return {start["chain_id"]: start["seq"] for start in rows("SELECT chain_id, seq FROM app.audit_starts")}


def drop(chain_id: UUID) -> int:
    """Delete up to `BATCH` droppable entries and their personal values, oldest first. Return their number."""
    return int(value("SELECT app.delete_expired_entries(%s, %s)", (chain_id, BATCH)))


def break_in(chain_id: UUID, after: Head, end: Head) -> int | None:
    """Where a chain is not as it was sealed, between these two entries; None if it is."""
    last = after
    while last.seq < end.seq:
        limit = min(seals.BATCH, end.seq - last.seq)
        entries = seals.sealed(None if chain_id == PLATFORM else chain_id, after=last.seq, limit=limit)
        if not entries:
            return last.seq + 1
        broken = seals.verify(entries, after=last)
        if broken is not None:
            return broken
        last = Head(entries[-1]["seq"], entries[-1]["mac"])
    return None if last == end else end.seq
