"""Contacts of a brand for the contract tests, with a note, a merge and a property each; segments and exports."""

from uuid import UUID, uuid4

from psycopg2.extensions import connection

from models.audiences import contacts, merging, notes, properties, segments
from models.audiences.dsl import Condition, ProfileCondition
from models.audiences.transfer import exports
from models.core.context import Identity
from models.core.database import new_id, transaction


def things(manager: Identity) -> dict[str, UUID]:
    """Create contacts with two pages of notes, and return the ids of one and of what belongs to it."""
    with transaction(manager):
        properties.declare("shoe_size", "text", "Shoe size", ["small", "large"])
        properties.declare("vip", "boolean", "VIP")
    found = merge(manager)
    contact_id = found["contact_id"]
    with transaction(manager):
        note_ids = [notes.add(contact_id, text).id for text in ("Likes tea", "Likes jazz")]
    return {**found, "note_id": note_ids[-1]}


def contact(manager: Identity) -> UUID:
    """Create a contact with a name that all share."""
    with transaction(manager):
        return contacts.create({"name": "Ana García", "tags": ["vip"], "external_id": uuid4().hex}).id


def note(manager: Identity) -> dict[str, UUID]:
    """Create a contact with a note."""
    contact_id = contact(manager)
    with transaction(manager):
        return {"contact_id": contact_id, "note_id": notes.add(contact_id, "Likes tea").id}


def merge(manager: Identity) -> dict[str, UUID]:
    """Create a contact that has taken in another one."""
    survivor, merged = contact(manager), contact(manager)
    with transaction(manager):
        made, _ = merging.merge(survivor, merged)
    return {"contact_id": survivor, "merge_id": made.id}


def segment(manager: Identity) -> UUID:
    """Create a segment with two versions, and return its id."""
    with transaction(manager):
        leaf = Condition(profile=ProfileCondition("country", "is_set"))
        made = segments.create(name=f"Segment {new_id()}", definition=leaf)
        found = segments.get_for_update(made.id)
        negated = Condition(not_of=leaf)
        return segments.replace(found, name=made.name, definition=negated, description=None).id


def segment_with_members(manager: Identity, superuser: connection) -> UUID:
    """Create a segment with five members, and return its id."""
    segment_id = segment(manager)
    with superuser.cursor() as cursor:
        cursor.execute(
            "with added as (insert into public.contacts (brand_id) select %s from generate_series(1, 5) returning id)"
            " insert into public.segment_members (brand_id, segment_id, contact_id, entered_at)"
            " select %s, %s, id, now() from added",
            (manager.brand_id, manager.brand_id, segment_id),
        )
    return segment_id


def export(admin: Identity) -> UUID:
    """Create an export of all contacts, and return its id."""
    with transaction(admin):
        return exports.create("csv", segment_id=None, tag=None)[0].id
