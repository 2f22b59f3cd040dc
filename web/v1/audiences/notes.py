"""Notes of members about contacts."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import notes
from models.audiences.notes import MAX_TEXT, Note
from models.core.errors import PreconditionFailed
from models.core.messages import REASON, Message
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import CreatedAt, Id, UpdatedAt, Version

NoteText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TEXT,
        pattern=r"^[^\x00]*\S[^\x00]*$(?!\n)",
        extra={REASON: Message("must have a character other than spaces, and no U+0000")},
        description="Text of the note, also in several lines. Write only what the person may read: it is part of the "
        "export of the person's data.",
        examples=["Asked for a table near the stage."],
    ),
]


class NoteIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The text of a note."""

    text: NoteText


class NoteOut(msgspec.Struct, kw_only=True):
    """A note about a contact."""

    id: Id
    contact_id: Annotated[
        UUID, Meta(description="Id of the contact: the one that was asked for, or one that it has taken in.")
    ]
    text: NoteText
    created_by: Annotated[
        UUID | None, Meta(description="Id of the member who wrote it; null: an API key, or an erased member.")
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt
    version: Version

    @classmethod
    def of(cls, note: Note) -> "NoteOut":
        """Build the response for a note."""
        return cls(**{name: getattr(note, name) for name in cls.__struct_fields__})


_EXAMPLE = {"text": "Asked for a table near the stage."}


class ContactNotes:
    """`/api/v1/crm/contacts/{contact_id}/notes`: the notes about a contact."""

    @endpoint(
        operation_id="listContactNotes",
        query=PageQuery,
        response=Page[NoteOut],
        permission="contacts:read",
        audit="contact.read",
    )
    def on_get(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """List the notes about a contact and those that it has taken in, newest first."""
        query: PageQuery = req.context.query
        scope = f"contact_notes:{contact_id}"
        after = decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope)
        found = notes.find(contact_id, limit=query.limit + 1, after=after)
        audited(req, table="contacts", record_id=contact_id)
        items = [NoteOut.of(note) for note in found]
        resp.media = page_of(items, query.limit, lambda note: (note.created_at, note.id), scope=scope)

    @endpoint(
        operation_id="addContactNote",
        body=NoteIn,
        example=_EXAMPLE,
        response=NoteOut,
        status=201,
        permission="contacts:write",
        audit="contact_note.create",
        idempotent=True,
    )
    def on_post(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """Write a note about a contact."""
        note = notes.add(contact_id, req.context.body.text)
        audited(req, table="contact_notes", record_id=note.id, after={"contact_id": contact_id})
        resp.location = f"/api/v1/crm/contacts/{contact_id}/notes"
        _respond(resp, note)


class OneContactNote:
    """`/api/v1/crm/contacts/{contact_id}/notes/{note_id}`: one note."""

    @endpoint(
        operation_id="updateContactNote",
        body=NoteIn,
        example=_EXAMPLE,
        response=NoteOut,
        permission="contacts:write",
        audit="contact_note.update",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, contact_id: UUID, note_id: UUID) -> None:
        """Replace the text of a note."""
        note = notes.get_for_update(contact_id, note_id)
        require_match(req, note.version)
        audited(req, table="contact_notes", record_id=note_id, after={"contact_id": contact_id})
        _respond(resp, notes.change(note, req.context.body.text))

    @endpoint(
        operation_id="deleteContactNote",
        status=204,
        permission="contacts:write",
        audit="contact_note.delete",
        problems=(PreconditionFailed,),
    )
    def on_delete(self, req: Request, resp: Response, contact_id: UUID, note_id: UUID) -> None:
        """Delete a note."""
        note = notes.get_for_update(contact_id, note_id)
        require_match(req, note.version)
        notes.delete(note)
        audited(req, table="contact_notes", record_id=note_id, after={"contact_id": contact_id})


def _respond(resp: Response, note: Note) -> None:
    etag(resp, note.version)
    resp.media = NoteOut.of(note)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/contacts/{contact_id:uuid}/notes", ContactNotes()),
    ("/api/v1/crm/contacts/{contact_id:uuid}/notes/{note_id:uuid}", OneContactNote()),
]
