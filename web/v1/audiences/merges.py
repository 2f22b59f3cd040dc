"""Merges: let a contact take in another one of the same person, and undo that."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import merging
from models.audiences.contacts import ContactKeyTaken, ContactMerged
from models.audiences.merging import ContactMerge, MergeNotLast, MergeUndone
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint
from web.http.fields import CreatedAt, Id

Merged = Annotated[
    UUID,
    Meta(description="Id of the contact to take in.", examples=["01941f2d-2b30-7f14-9a6c-5e8d7c1b0a92"]),
]


class MergeIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The contact to take in."""

    contact_id: Merged


class MergeOut(msgspec.Struct, kw_only=True):
    """A merge of two contacts."""

    id: Id
    survivor_id: Annotated[UUID, Meta(description="Id of the contact that took the other one in.")]
    merged_id: Annotated[UUID, Meta(description="Id of the contact that was taken in.")]
    created_by: Annotated[UUID | None, Meta(description="Id of the member; null: an API key, or an erased member.")]
    created_at: CreatedAt
    undone_at: Annotated[Instant | None, Meta(description="Time at which it was undone, in UTC; null: in force.")]

    @classmethod
    def of(cls, merge: ContactMerge) -> "MergeOut":
        """Build the response for a merge."""
        return cls(**{name: getattr(merge, name) for name in cls.__struct_fields__})


class ContactMerges:
    """`/api/v1/crm/contacts/{contact_id}/merges`: merges of a contact."""

    @endpoint(
        operation_id="mergeContacts",
        body=MergeIn,
        example={"contact_id": "01941f2d-2b30-7f14-9a6c-5e8d7c1b0a92"},
        response=MergeOut,
        status=201,
        permission="contacts:write",
        audit="contact.merge",
        idempotent=True,
        problems=(ContactMerged,),
    )
    def on_post(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """Let the contact take in another contact of the same person.

        The contact keeps its values, and gets those of the other one that it does not have, all tags included. An
        opt-out of either counts for both. Activity, engagement, consents and notes of both are its own from then on.
        """
        merge, _ = merging.merge(contact_id, req.context.body.contact_id)
        audited(req, table="contacts", record_id=contact_id, after={"merge": merge.id, "merged": merge.merged_id})
        resp.media = MergeOut.of(merge)


class OneContactMerge:
    """`/api/v1/crm/contacts/{contact_id}/merges/{merge_id}`: one merge."""

    @endpoint(
        operation_id="undoContactMerge",
        response=MergeOut,
        permission="contacts:write",
        audit="contact.undo_merge",
        problems=(ContactMerged, ContactKeyTaken, MergeNotLast, MergeUndone),
    )
    def on_delete(self, req: Request, resp: Response, contact_id: UUID, merge_id: UUID) -> None:
        """Undo the last merge of a contact.

        Both contacts are as they were before, except for what was changed since then: it stays with the contact that
        had taken the other one in. An opt-out since then counts for both.
        """
        merge = merging.undo(contact_id, merge_id)
        audited(req, table="contacts", record_id=contact_id, after={"merge": merge.id, "merged": merge.merged_id})
        resp.media = MergeOut.of(merge)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/contacts/{contact_id:uuid}/merges", ContactMerges()),
    ("/api/v1/crm/contacts/{contact_id:uuid}/merges/{merge_id:uuid}", OneContactMerge()),
]
