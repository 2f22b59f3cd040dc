"""Contacts of a brand for the contract tests, with a note, a merge and a property each."""

from uuid import UUID, uuid4

from models.audiences import contacts, merging, notes, properties
from models.core.context import Identity
from models.core.database import transaction


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
