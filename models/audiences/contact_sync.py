"""Synchronisation of contacts with CALS: find own changes, apply those of CALS.

`public.contact_sync` holds the version of each field as both sides know it. An own change is found by comparing the
contact with it, so nothing else has to record versions. A change that came from CALS is equal there, and is not sent
back. Fields are named as in `profile.FIELDS`; a property is `properties.<key>`, a tag is `tags.<tag>` with the value
true.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from models.audiences import profile, properties
from models.audiences.contacts import Contact
from models.audiences.profile import FIELDS, ValueType
from models.audiences.properties import Property
from models.core import context, locks
from models.core.database import execute, now, row, rows
from models.core.errors import Invalid
from models.passport.contact_merge import Copy, Field, from_row, merge, to_json

SYNCHRONISED = tuple(name for name, field in FIELDS.items() if field.writable and field.type != "list")
"""Profile fields that both systems know, besides tags and properties."""
PROPERTY, TAG = "properties.", "tags."
"""Prefixes of the names of properties and tags."""
MERGED = "merged_into"
"""Id of the contact that has taken this one in. A deletion would be final, and a merge can be undone."""
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
SELECT c.id, c.external_id, c.email, c.phone, c.name, c.locale, c.country, c.city, c.birth_date, c.lat, c.lon, c.source,
    c.tags, c.properties, c.updated_at, c.opted_out_at AS own_opt_out, c.merged_into, s.fields,
    s.opted_out_at, s.deleted_at, s.contact_id IS NOT NULL AS is_known
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
_DELETE_GONE = """
UPDATE public.contact_sync s SET fields = '{}', deleted_at = now(), dirty = true, version = version + 1
WHERE s.brand_id = (SELECT app.job_brand()) AND s.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM public.contacts c WHERE c.id = s.contact_id)
"""


def values_of(contact: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the values of a contact's row that are synchronised, by name. Properties that are lists are not."""
    found: dict[str, Any] = {name: contact[name] for name in SYNCHRONISED}
    found[MERGED] = contact["merged_into"] and str(contact["merged_into"])
    found["birth_date"] = found["birth_date"] and found["birth_date"].isoformat()
    found |= {f"{PROPERTY}{key}": one for key, one in contact["properties"].items()}
    found |= {f"{TAG}{tag}": True for tag in contact["tags"]}
    return {name: one for name, one in found.items() if one is not None and isinstance(one, Scalar)}


def own_changes(values: Mapping[str, Scalar], at: datetime, known: Mapping[str, Field]) -> dict[str, Field]:
    """Return the values of a contact that differ from the known versions, as changed here at a time."""
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
        own = Copy(own_changes(values_of(one), one["updated_at"], known.fields), one["own_opt_out"])
        merged = merge(known, own)
        version = (to_json(merged.fields), merged.opted_out_at, merged.deleted_at, one["updated_at"])
        execute(_STORE, (one["id"], *version, merged != known or not one["is_known"]))
    if found:
        execute(_COMPARED, (found[-1]["updated_at"],))
    may_be_more = len(found) == COMPARED_AT_ONCE
    if not may_be_more:  # Once, not for each part: it reads all contacts of the brand.
        execute(_DELETE_GONE)
    return may_be_more


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
    before = from_row(known) if known else Copy()
    received = Copy(_acceptable(contact_id, copy.fields), copy.opted_out_at, copy.deleted_at)
    merged = merge(before, received)
    if known is not None and merged == before:
        return False
    if merged.deleted_at is None:
        is_new_withdrawal = merged.opted_out_at != before.opted_out_at
        seen_at = _write(contact_id, merged.fields, merged.opted_out_at if is_new_withdrawal else None)
    else:
        # The brand has deleted the contact in its CRM, as `DELETE /api/v1/crm/contacts/{contact_id}` does here.
        seen_at = None
        execute("DELETE FROM public.contacts WHERE id = %s", (contact_id,))
    execute(
        _STORE,
        (contact_id, to_json(merged.fields), merged.opted_out_at, merged.deleted_at, seen_at, merged != received),
    )
    return True


def _acceptable(contact_id: UUID, fields: Mapping[str, Field]) -> dict[str, Field]:
    """Return the fields that a contact can hold, in their stored form, and with no change in the future.

    A field that is left out here counts as never received: the own value stays, and is not sent as a removal. A change
    in the future would win against all later ones.
    """
    latest = now()
    known = properties.declared(_brand())
    found: dict[str, Field] = {}
    for name, kept in fields.items():
        with suppress(ValueError, Invalid):
            value = _stored_form(name, kept.value, known)
            if name not in UNIQUE or value is None or not _is_taken(name, value, contact_id):
                found[name] = Field(value, min(kept.at, latest), kept.source)
    return found


def _stored_form(name: str, given: Scalar, known: dict[str, Property]) -> Scalar:
    """Return the stored form of a value of CALS. A property that is not declared is declared with the value's type.

    Raises:
        ValueError: a contact can't hold it.
    """
    if name.startswith(TAG):
        return None if given is None or not profile.normalise("tags", [name.removeprefix(TAG)]) else True
    if name in SYNCHRONISED:
        found = profile.normalise(name, given)
        return found.isoformat() if isinstance(found, date) else cast(Scalar, found)
    key = name.removeprefix(PROPERTY)
    if key == name:
        raise ValueError(name)
    if key not in known and given is not None:
        kind: ValueType = "boolean" if isinstance(given, bool) else "text" if isinstance(given, str) else "number"
        known[key] = properties.declare_found(key, kind)
    return cast(Scalar, properties.check({key: given}, known)[key])


UNIQUE = ("email", "external_id")
"""Fields that one contact of a brand may have."""


def _is_taken(name: str, value: Scalar, contact_id: UUID) -> bool:
    column = getattr(Contact, name)
    other = (column == value) & (Contact.id != contact_id) & Contact.merged_into.is_null()
    return bool(Contact.select().where(Contact.brand_id == _brand(), other).exists())


def _brand() -> UUID:
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    return identity.brand_id


def _write(contact_id: UUID, fields: Mapping[str, Field], opted_out_at: datetime | None) -> datetime:
    """Create or update a contact, so that it has these values. A property that is a list stays as it is."""
    at = now()
    values = {name: kept.value for name, kept in fields.items()}
    found: dict[str, Any] = {name: value for name, value in values.items() if name in SYNCHRONISED}
    # A position has both parts, or none.
    if None in (pair := (found.get("lat"), found.get("lon"))) and pair != (None, None):
        found["lat"] = found["lon"] = None
    contact: Contact | None = Contact.get_or_none(Contact.id == contact_id)
    kept_properties = dict(contact.properties) if contact else {}
    tags = list(contact.tags) if contact else []
    for name, value in values.items():
        if name.startswith(PROPERTY):
            kept_properties[name.removeprefix(PROPERTY)] = value
        elif name.startswith(TAG):
            tags = [tag for tag in tags if tag != name.removeprefix(TAG)] + ([name.removeprefix(TAG)] if value else [])
    found |= {
        "properties": {key: value for key, value in kept_properties.items() if value is not None},
        "tags": tags,
        "updated_at": at,
    }
    if opted_out_at is not None:
        found["opted_out_at"] = opted_out_at
    if contact is None:
        Contact.insert(id=contact_id, brand_id=_brand(), **({"source": "cals"} | found)).execute()
    else:
        Contact.update(**found).where(Contact.id == contact_id).execute()
    return at
