"""Changes that segments must apply: marks of contacts, with the kinds of leaves that a change can alter.

Triggers mark the contacts of every writer: contacts themselves, consents, traits and engagement events. The job
`segments.apply` of the brand deletes the marks in the transaction that applies them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import timedelta
from uuid import UUID

from models.core import locks
from models.core.database import execute, rows
from models.jobs.ledger import enqueue

CONTACT = "contact"
"""Kind of a change that can alter every leaf: the contact is new, was merged, or belongs to another person."""
EVENT = "event:"
"""Prefix of the kinds that change the activity."""
BATCH = 2_000
"""Maximum number of marks that one job applies."""
DELAY = timedelta(milliseconds=200)
"""Delay of the job, so that it includes other changes of the brand. `app.add_segment_jobs` has it as well."""
STALLED = timedelta(minutes=1)
"""Age of a mark from which a sweep enqueues the job of its brand, if there is none."""


def lock(brand_id: UUID) -> None:
    """Serialise the writers of the activity and the memberships of a brand.

    Without the lock, an older result could be written after a newer one.
    """
    locks.acquire("segments", brand_id)


def mark(brand_id: UUID, contact_ids: Collection[UUID], *kinds: str) -> None:
    """Mark contacts of the job's brand as changed, and enqueue the job that applies the change."""
    execute(
        "INSERT INTO app.segment_changes (brand_id, contact_id, kinds)"
        " SELECT %s, id, %s::text[] FROM unnest(%s::uuid[]) id",
        (brand_id, list(kinds), sorted(contact_ids)),
    )
    if contact_ids:
        enqueue_apply(brand_id)


def enqueue_apply(brand_id: UUID, *, delay: timedelta = DELAY) -> None:
    """Enqueue the job that applies the changes of a brand. Waiting jobs of one brand run as one."""
    key = f"segments.apply:{brand_id}"
    enqueue("segments.apply", delay=delay, unique="while_waiting", unique_key=key, brand_id=brand_id)


_TAKE = """
DELETE FROM app.segment_changes WHERE brand_id = %(brand)s AND id IN (
    SELECT id FROM app.segment_changes WHERE brand_id = %(brand)s ORDER BY id LIMIT %(limit)s)
RETURNING contact_id, user_id, kinds
"""
_RESOLVE = """
SELECT c.id, c.user_id, c.merged_into FROM public.contacts c
WHERE c.brand_id = %s AND (c.id = ANY (%s::uuid[]) OR c.user_id = ANY (%s::uuid[]))
"""


def take(brand_id: UUID, limit: int = BATCH) -> tuple[dict[UUID, set[str]], bool]:
    """Delete up to `limit` marks of the job's brand. The caller applies them in the same transaction.

    Returns:
        The kinds of change of each contact, and whether there may be more marks. The change of a contact that was
        merged also concerns the contact that it was merged into. A person without a contact has none: the new contact
        will be marked.
    """
    taken = rows(_TAKE, {"brand": brand_id, "limit": limit})
    marked: defaultdict[UUID, set[str]] = defaultdict(set)
    for one in taken:
        marked[one["contact_id"] or one["user_id"]].update(one["kinds"])
    changed: defaultdict[UUID, set[str]] = defaultdict(set)
    for one in _resolve(brand_id, marked):
        kinds = marked.get(one["id"], set()) | marked.get(one["user_id"], set())
        for contact_id in filter(None, (one["id"], one["merged_into"])):
            changed[contact_id] |= kinds
    return dict(changed), len(taken) == limit


def _resolve(brand_id: UUID, marked: Iterable[UUID]) -> list[dict[str, UUID]]:
    ids = sorted(marked)
    return rows(_RESOLVE, (brand_id, ids, ids)) if ids else []


_STALLED = """
SELECT DISTINCT c.brand_id FROM app.segment_changes c
WHERE c.marked_at < now() - %s AND NOT EXISTS (
    SELECT FROM app.jobs j WHERE j.brand_id = c.brand_id AND j.actor = 'segments.apply')
"""


def sweep() -> None:
    """Enqueue the jobs of brands whose changes have waited for `STALLED` without a job: theirs have failed for good."""
    for one in rows(_STALLED, (STALLED,)):
        enqueue_apply(one["brand_id"], delay=timedelta())
