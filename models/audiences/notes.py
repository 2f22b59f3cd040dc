"""Notes of members about contacts. A note stays with its contact when another one takes the contact in."""

from datetime import datetime
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences.contacts import Contact, get
from models.core import context
from models.core.database import Row, new_id, now
from models.core.errors import NotFound

MAX_TEXT = 5000
"""Maximum number of characters of a note."""


class Note(Row):
    """A note about a contact. `created_by` None: an API key, or a member whose account was erased, has written it."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    contact_id = peewee.UUIDField()
    text = peewee.TextField()
    created_by = peewee.UUIDField(null=True)
    version = peewee.IntegerField(default=1)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "contact_notes"


def add(contact_id: UUID, text: str) -> Note:
    """Add a note about a contact of the caller's brand.

    Raises:
        NotFound: the brand has no such contact.
    """
    contact, identity, at = get(contact_id), context.current(), now()
    assert identity is not None
    author = None if identity.is_api_key else identity.user_id
    new = {"id": new_id(), "brand_id": contact.brand_id, "contact_id": contact.id, "created_by": author}
    return Note.create(**new, text=text, created_at=at, updated_at=at)


def find(contact_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None = None) -> list[Note]:
    """Return up to `limit` notes about a contact and those that it has taken in, newest first.

    Args:
        contact_id: the contact.
        limit: maximum number of notes.
        after: `created_at` and `id` of the last note of the previous page.

    Raises:
        NotFound: the brand has no such contact.
    """
    contact = get(contact_id)
    group = Contact.select(Contact.id).where(
        Contact.brand_id == contact.brand_id, (Contact.id == contact.id) | (Contact.merged_into == contact.id)
    )
    query = Note.select().where(Note.brand_id == contact.brand_id, Note.contact_id.in_(group))
    if after is not None:
        query = query.where(peewee.Tuple(Note.created_at, Note.id) < after)
    return list(query.order_by(Note.created_at.desc(), Note.id.desc()).limit(limit))


def get_for_update(contact_id: UUID, note_id: UUID) -> Note:
    """Lock a note about a contact, or about one that it has taken in, and return it.

    Raises:
        NotFound: there is no such note, or the caller may not change it.
    """
    found: Note | None = Note.select().where(Note.id == note_id).for_update().first()
    if found is None or contact_id not in (found.contact_id, get(found.contact_id).merged_into):
        raise NotFound
    return found


def change(note: Note, text: str) -> Note:
    """Replace the text of a note that `get_for_update` has locked."""
    query = Note.update(text=text, version=Note.version + 1, updated_at=now()).where(Note.id == note.id)
    changed: Note = next(iter(query.returning(Note).execute()))
    return changed


def delete(note: Note) -> None:
    """Delete a note that `get_for_update` has locked."""
    Note.delete().where(Note.id == note.id).execute()
