"""Merge two contacts of one person, and undo it.

The merged contact stays as a row with `merged_into`, and keeps its account, notes and events: readers resolve it. The
survivor keeps its own values, and gets those of the merged contact that it does not have. An opt-out of either counts
for both.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.audiences import contacts
from models.audiences.contacts import Contact
from models.audiences.profile import FIELDS, MAX_TAGS
from models.core import context
from models.core.database import Row, new_id, now
from models.core.errors import Conflict, Invalid, Members, NotFound

FILLED = tuple(
    name for name, field in FIELDS.items() if field.writable and name not in ("tags", "lat", "lon", "source")
)
"""Fields that the survivor gets from the merged contact if it has none."""
TIMES = {"birth_date", "opted_out_at", "merged_opted_out_at", "first_seen_at", "last_seen_at"}
"""Columns that the record of a merge holds as text."""


class MergeNotLastMembers(Members):
    """The merge to undo first."""

    merge_id: Annotated[UUID, msgspec.Meta(description="Id of the later merge.")]


class MergeNotLast(Conflict):
    """A later merge of the contact is in force: undo that one first."""

    code = "merge_not_last"
    members = MergeNotLastMembers


class MergeUndone(Conflict):
    """The merge was undone before."""

    code = "merge_undone"


class ContactMerge(Row):
    """A merge. `before` and `after` hold the survivor's values that it has changed."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    survivor_id = peewee.UUIDField()
    merged_id = peewee.UUIDField()
    moved = ArrayField(peewee.UUIDField, index=False)  # type: ignore[no-untyped-call]
    before = peewee.JSONField()
    after = peewee.JSONField()
    created_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()
    undone_by = peewee.UUIDField(null=True)
    undone_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "contact_merges"


def merge(survivor_id: UUID, merged_id: UUID) -> tuple[ContactMerge, Contact]:
    """Let a contact take another one in. Return the merge, and the survivor.

    Raises:
        Invalid: the two are one contact, or the brand has no such merged contact.
        NotFound: the brand has no such survivor.
        ContactMerged: another contact has taken one of them in.
    """
    survivor, merged = _lock_both(survivor_id, merged_id)
    moved = [one.id for one in Contact.select(Contact.id).where(_merged_into(merged))]
    after = _changes(survivor, merged)
    before = {name: getattr(survivor, name) for name in after} | {MERGED_OPT_OUT: merged.opted_out_at}
    # First: the survivor may get a unique value that the merged contact gives up.
    joining = {"merged_into": survivor.id, "opted_out_at": after.get("opted_out_at", survivor.opted_out_at)}
    Contact.update(**joining, updated_at=now()).where((Contact.id == merged.id) | _merged_into(merged)).execute()
    changed = contacts.store(survivor.id, after)
    Contact.update(opted_out_at=changed.opted_out_at).where(_merged_into(survivor)).execute()
    record = ContactMerge.create(
        id=new_id(),
        brand_id=survivor.brand_id,
        survivor_id=survivor.id,
        merged_id=merged.id,
        moved=moved,
        before=_as_json(before),
        after=_as_json(after),
        created_by=_author(),
        created_at=now(),
    )
    return record, changed


def undo(contact_id: UUID, merge_id: UUID) -> ContactMerge:
    """Undo the last merge of a contact. Values that were changed since then stay with the survivor.

    An opt-out since the merge counts for both contacts.

    Raises:
        NotFound: the contact has no such merge.
        MergeUndone: it was undone before.
        MergeNotLast: a later merge is in force.
        ContactMerged: another contact has taken the survivor in.
        ContactKeyTaken: another contact has got the address or the external id of the merged contact meanwhile.
    """
    survivor = contacts.get_for_update(contact_id)
    record = _require_last(survivor.id, merge_id)
    before = _from_json(record.before)
    merged_opt_out = before.pop(MERGED_OPT_OUT)
    present = _as_json({name: getattr(survivor, name) for name in before})
    restored = {name: value for name, value in before.items() if present[name] == record.after[name]}
    opted_out_at = _as_json({"at": survivor.opted_out_at})["at"]
    if opted_out_at != record.after.get("opted_out_at", opted_out_at and record.before.get("opted_out_at")):
        merged_opt_out = survivor.opted_out_at
    contacts.store(survivor.id, restored)
    merged = contacts.get(record.merged_id)
    with contacts.keys_free(contacts.values_of(merged), merged.id):
        leaving = {"merged_into": None, "opted_out_at": merged_opt_out, "updated_at": now()}
        Contact.update(**leaving).where(Contact.id == merged.id).execute()
    Contact.update(merged_into=merged.id, updated_at=now()).where(Contact.id.in_(record.moved)).execute()
    undone = {"undone_at": now(), "undone_by": _author()}
    query = ContactMerge.update(**undone).where(ContactMerge.id == merge_id).returning(ContactMerge)
    found: ContactMerge = next(iter(query.execute()))
    return found


MERGED_OPT_OUT = "merged_opted_out_at"
"""Member of `before`: the opt-out of the merged contact before the merge."""


def _lock_both(survivor_id: UUID, merged_id: UUID) -> tuple[Contact, Contact]:
    if survivor_id == merged_id:
        raise Invalid("contact_id", "must be another contact")
    locked: dict[UUID, Contact] = {}
    # Lock in sorted order: two merges of the same contacts would deadlock otherwise.
    for one in sorted((survivor_id, merged_id)):
        try:
            locked[one] = contacts.get_for_update(one)
        except NotFound:
            if one == survivor_id:
                raise
            raise Invalid("contact_id", "must be the id of a contact of the brand") from None
    return locked[survivor_id], locked[merged_id]


def _merged_into(contact: Contact) -> Any:
    return (Contact.brand_id == contact.brand_id) & (Contact.merged_into == contact.id)


def _changes(survivor: Contact, merged: Contact) -> dict[str, Any]:
    """Return the columns of the survivor that the merge changes."""
    found = {name: getattr(merged, name) for name in FILLED if getattr(survivor, name) is None}
    if survivor.lat is None:
        found |= {"lat": merged.lat, "lon": merged.lon}
    found["tags"] = list(dict.fromkeys([*survivor.tags, *merged.tags]))[:MAX_TAGS]
    found["properties"] = {**merged.properties, **survivor.properties}
    for name, first in (("opted_out_at", min), ("first_seen_at", min), ("last_seen_at", max)):
        times = [one for one in (getattr(survivor, name), getattr(merged, name)) if one is not None]
        found[name] = first(times, default=None)
    return {name: value for name, value in found.items() if value != getattr(survivor, name)}


def _require_last(survivor_id: UUID, merge_id: UUID) -> ContactMerge:
    of_survivor = ContactMerge.select().where(ContactMerge.survivor_id == survivor_id)
    record: ContactMerge | None = of_survivor.where(ContactMerge.id == merge_id).first()
    if record is None:
        raise NotFound
    if record.undone_at is not None:
        raise MergeUndone
    last = of_survivor.where(ContactMerge.undone_at.is_null()).order_by(ContactMerge.id.desc()).first()
    if last.id != merge_id:
        raise MergeNotLast(merge_id=last.id)
    return record


def _author() -> UUID | None:
    identity = context.current()
    assert identity is not None
    return None if identity.is_api_key else identity.user_id


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def _from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for name in TIMES & found.keys():
        parse = date.fromisoformat if name == "birth_date" else datetime.fromisoformat
        found[name] = found[name] and parse(found[name])
    return found
