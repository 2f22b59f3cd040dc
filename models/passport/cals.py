"""Contacts and activities: the rules of the local implementation of CALS."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.core import context, locks
from models.core.database import execute, row, rows, value
from models.passport.contact_merge import Copy, from_row, merge, to_json


@dataclass(frozen=True, slots=True)
class Activity:
    """Activity of a person."""

    id: UUID
    contact_id: UUID
    kind: str
    occurred_at: datetime


_STORE = """
INSERT INTO public.cals_contacts AS c (brand_id, contact_id, fields, opted_out_at, deleted_at, seq)
SELECT (SELECT app.job_brand()), %s, %s, %s, %s, coalesce(max(o.seq), 0) + 1
FROM public.cals_contacts o WHERE o.brand_id = (SELECT app.job_brand())
ON CONFLICT (brand_id, contact_id) DO UPDATE SET fields = excluded.fields, opted_out_at = excluded.opted_out_at,
    deleted_at = excluded.deleted_at, seq = excluded.seq
"""


def put_contacts(copies: Mapping[UUID, Copy]) -> int:
    """Merge copies of contacts into the stored ones of the job's brand. Return the number of changed contacts."""
    brand_id = _lock_brand()
    changed = 0
    for contact_id, copy in sorted(copies.items()):
        known = row(
            "SELECT fields, opted_out_at, deleted_at FROM public.cals_contacts WHERE brand_id = %s AND contact_id = %s",
            (brand_id, contact_id),
        )
        merged = merge(from_row(known) if known else Copy(), copy)
        if known is None or merged != from_row(known):
            execute(_STORE, (contact_id, to_json(merged.fields), merged.opted_out_at, merged.deleted_at))
            changed += 1
    if any(copy.deleted_at for copy in copies.values()):
        gone = [contact_id for contact_id, copy in copies.items() if copy.deleted_at]
        execute(
            "DELETE FROM public.cals_activities WHERE brand_id = %s AND contact_id = ANY (%s::uuid[])", (brand_id, gone)
        )
    return changed


def changes(after: int, limit: int) -> list[tuple[int, UUID, Copy]]:
    """Return up to `limit` contacts of the job's brand with the numbers of their last changes, above `after`."""
    found = rows(
        "SELECT seq, contact_id, fields, opted_out_at, deleted_at FROM public.cals_contacts"
        " WHERE brand_id = (SELECT app.job_brand()) AND seq > %s ORDER BY seq LIMIT %s",
        (after, limit),
    )
    return [(one["seq"], one["contact_id"], from_row(one)) for one in found]


def add_activities(activities: Sequence[Activity]) -> int:
    """Store activities of the job's brand that are not stored yet. Return their number."""
    content = [
        {
            "id": str(one.id),
            "contact_id": str(one.contact_id),
            "kind": one.kind,
            "occurred_at": one.occurred_at.isoformat(),
        }
        for one in activities
    ]
    return int(
        value(
            "WITH added AS (INSERT INTO public.cals_activities (brand_id, activity_id, contact_id, kind, occurred_at)"
            " SELECT (SELECT app.job_brand()), a.id, a.contact_id, a.kind, a.occurred_at"
            " FROM jsonb_to_recordset(%s) AS a (id uuid, contact_id uuid, kind text, occurred_at timestamptz)"
            " ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM added",
            (json.dumps(content),),
        )
    )


def _lock_brand() -> UUID:
    """Serialise the changes of the job's brand: their numbers then follow the order of commits."""
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    locks.acquire("cals", identity.brand_id)
    return identity.brand_id
