"""Synchronisation of contacts with CALS: find own changes, apply those of CALS.

`public.contact_sync` holds the version of each field as both sides know it. An own change is found by comparing the
contact with it, so nothing else has to record versions. A change that came from CALS is equal there, and is not sent
back.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core import locks
from models.core.database import execute, now, row, rows
from models.passport.contact_merge import Copy, Field, from_row, merge, to_json

OWN = frozenset({"scans"})
"""Properties that the application writes. They are counts of this system and are not synchronised."""
OVERLAP = timedelta(minutes=15)
"""Contacts that changed this long before the last comparison are compared again: they may have committed late."""
COMPARED_AT_ONCE = 500
"""Maximum number of contacts that one comparison reads."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Change:
    """A contact with changes that CALS does not have, and the version of the row that holds them."""

    contact_id: UUID
    copy: Copy
    version: int


_CHANGED = """
SELECT c.id, c.properties, c.updated_at, s.fields, s.opted_out_at, s.deleted_at, s.contact_id IS NOT NULL AS is_known
FROM public.contacts c
LEFT JOIN public.contact_sync s ON s.brand_id = c.brand_id AND s.contact_id = c.id
WHERE c.brand_id = (SELECT app.job_brand()) AND s.deleted_at IS NULL AND s.seen_at IS DISTINCT FROM c.updated_at
    AND c.updated_at > coalesce((SELECT t.compared_through FROM public.contact_sync_state t
        WHERE t.brand_id = (SELECT app.job_brand())), '-infinity') - %s
ORDER BY c.updated_at LIMIT %s
"""
_STORE = """
INSERT INTO public.contact_sync AS s (brand_id, contact_id, fields, opted_out_at, deleted_at, seen_at, dirty)
VALUES ((SELECT app.job_brand()), %s, %s, %s, %s, %s, %s)
ON CONFLICT (brand_id, contact_id) DO UPDATE SET fields = excluded.fields, opted_out_at = excluded.opted_out_at,
    deleted_at = excluded.deleted_at, seen_at = excluded.seen_at, dirty = s.dirty OR excluded.dirty,
    version = s.version + 1
"""
_COMPARED = """
INSERT INTO public.contact_sync_state AS t (brand_id, compared_through) VALUES ((SELECT app.job_brand()), %s)
ON CONFLICT (brand_id) DO UPDATE SET compared_through = greatest(t.compared_through, excluded.compared_through)
"""
_BURY = """
UPDATE public.contact_sync s SET fields = '{}', deleted_at = now(), dirty = true, version = version + 1
WHERE s.brand_id = (SELECT app.job_brand()) AND s.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM public.contacts c WHERE c.id = s.contact_id)
"""


def own_changes(properties: Mapping[str, Any], at: datetime, known: Mapping[str, Field]) -> dict[str, Field]:
    """Return the fields of a contact that differ from the known versions, as changed here at a time.

    Values that are lists or objects are not synchronised.
    """
    values = {
        name: value
        for name, value in properties.items()
        if name not in OWN and (value is None or isinstance(value, Scalar))
    }
    removed = {name: None for name, field in known.items() if name not in values and field.value is not None}
    return {
        name: Field(value, at, "companon")
        for name, value in {**values, **removed}.items()
        if name not in known or known[name].value != value
    }


def compare(brand_id: UUID) -> bool:
    """Find own changes of the brand's contacts, and deleted contacts. Return whether there may be more."""
    locks.acquire("contact_sync", brand_id)
    found = rows(_CHANGED, (OVERLAP, COMPARED_AT_ONCE))
    for one in found:
        known = from_row(one) if one["is_known"] else Copy()
        changed = own_changes(one["properties"], one["updated_at"], known.fields)
        merged = merge(known, Copy(changed))
        version = (to_json(merged.fields), merged.opted_out_at, merged.deleted_at, one["updated_at"])
        execute(_STORE, (one["id"], *version, bool(changed)))
    execute(_BURY)
    if found:
        execute(_COMPARED, (found[-1]["updated_at"],))
    return len(found) == COMPARED_AT_ONCE


def unsent(limit: int) -> list[Change]:
    """Return up to `limit` contacts of the job's brand with changes that CALS does not have."""
    found = rows(
        "SELECT contact_id, fields, opted_out_at, deleted_at, version FROM public.contact_sync"
        " WHERE brand_id = (SELECT app.job_brand()) AND dirty ORDER BY contact_id LIMIT %s",
        (limit,),
    )
    return [Change(one["contact_id"], from_row(one), one["version"]) for one in found]


def mark_sent(changes: Iterable[Change]) -> None:
    """Record that CALS has these changes. A contact that has changed meanwhile is sent again."""
    for change in changes:
        execute(
            "UPDATE public.contact_sync SET dirty = false"
            " WHERE brand_id = (SELECT app.job_brand()) AND contact_id = %s AND version = %s",
            (change.contact_id, change.version),
        )


def cursor() -> str | None:
    """Return the position in the changes of CALS from which the brand continues."""
    found = row("SELECT pull_cursor FROM public.contact_sync_state WHERE brand_id = (SELECT app.job_brand())")
    return found["pull_cursor"] if found else None


def apply(brand_id: UUID, received: Mapping[UUID, Copy], next_cursor: str | None) -> int:
    """Merge copies from CALS into the brand's contacts, and store the position. Return the number of changed contacts.

    Call `compare` before: a field that was changed here later than in CALS keeps its value.
    """
    locks.acquire("contact_sync", brand_id)
    changed = sum(_apply_one(contact_id, copy) for contact_id, copy in sorted(received.items()))
    execute(
        "INSERT INTO public.contact_sync_state AS t (brand_id, pull_cursor, pulled_at) VALUES (%s, %s, now())"
        " ON CONFLICT (brand_id) DO UPDATE SET pull_cursor = excluded.pull_cursor, pulled_at = excluded.pulled_at",
        (brand_id, next_cursor),
    )
    return changed


def _apply_one(contact_id: UUID, copy: Copy) -> bool:
    known = row(
        "SELECT fields, opted_out_at, deleted_at FROM public.contact_sync"
        " WHERE brand_id = (SELECT app.job_brand()) AND contact_id = %s",
        (contact_id,),
    )
    before, received = from_row(known) if known else Copy(), _acceptable(copy)
    merged = merge(before, received)
    if known is not None and merged == before:
        return False
    values = {name: kept.value for name, kept in merged.fields.items() if kept.value is not None}
    removed = [name for name in before.fields if name not in values and name not in OWN]
    seen_at = _write(contact_id, values, removed) if merged.deleted_at is None else _clear(contact_id)
    execute(
        _STORE,
        (contact_id, to_json(merged.fields), merged.opted_out_at, merged.deleted_at, seen_at, merged != received),
    )
    return True


def _acceptable(copy: Copy) -> Copy:
    """Return a copy without own properties, and with no change in the future: it would win against all later ones."""
    latest = now()
    fields = {name: Field(kept.value, min(kept.at, latest), kept.source) for name, kept in copy.fields.items()}
    return Copy({name: kept for name, kept in fields.items() if name not in OWN}, copy.opted_out_at, copy.deleted_at)


_WRITE = """
INSERT INTO public.contacts AS c (id, brand_id, properties, updated_at)
VALUES (%s, (SELECT app.job_brand()), %s, now())
ON CONFLICT (id) DO UPDATE SET properties = (c.properties || excluded.properties) - %s::text[], updated_at = now()
RETURNING updated_at
"""


def _write(contact_id: UUID, values: Mapping[str, Scalar], removed: list[str]) -> datetime:
    found = row(_WRITE, (contact_id, json.dumps(values), removed))
    assert found is not None
    at: datetime = found["updated_at"]
    return at


def _clear(contact_id: UUID) -> datetime | None:
    """Remove all properties of a contact that CALS has deleted, except those that the application writes."""
    found = row(
        "UPDATE public.contacts SET updated_at = now(), properties = coalesce("
        " (SELECT jsonb_object_agg(key, value) FROM jsonb_each(properties) WHERE key = ANY (%s)), '{}')"
        " WHERE id = %s RETURNING updated_at",
        (sorted(OWN), contact_id),
    )
    return found["updated_at"] if found else None
