"""Timeline of a contact."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import timeline
from models.audiences.timeline import Entry, Key, TimelineKind
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of


class TimelineFilter(PageQuery, kw_only=True):
    """Filter of a timeline; all conditions must hold."""

    kind: Annotated[
        list[TimelineKind] | None,
        Meta(
            description="Only entries of these kinds; repeat the parameter for several. Default: all.",
            examples=[["scan", "note"]],
        ),
    ] = None
    campaign_id: Annotated[UUID | None, Meta(description="Only entries of this campaign. Default: all.")] = None


class TimelineEntryOut(msgspec.Struct, kw_only=True):
    """An entry of a timeline."""

    id: Annotated[UUID, Meta(description="Id of the record that the entry is about; with `kind` unique at one time.")]
    kind: Annotated[TimelineKind, Meta(description="What happened.", examples=["scan"])]
    at: Annotated[Instant, Meta(description="Time at which it happened, in UTC.")]
    campaign_id: Annotated[UUID | None, Meta(description="Id of the campaign; null: it belongs to none.")]
    detail: Annotated[
        dict[str, Any],
        Meta(
            description="Engagement events: `source_id`, `reversed_at` if it no longer counts, and `value_minor` and "
            "`currency` of a conversion. `campaign`: `last_at`. `ticket`: `state`. `guest`: `party`. `consent`: "
            "`action`, `tier`, `every_brand`. `created`: `source`. `note`: `text`, `created_by`. `merge`: "
            "`merged_id`, `created_by`. `merge_undone`: `merged_id`, `undone_by`. Segments: `segment_id`, `name`.",
            examples=[{"source_id": "01941f2d-2b30-7f14-9a6c-5e8d7c1b0a92"}],
        ),
    ]

    @classmethod
    def of(cls, entry: Entry) -> "TimelineEntryOut":
        """Build the response for an entry."""
        return cls(id=entry.id, kind=entry.kind, at=entry.at, campaign_id=entry.campaign_id, detail=dict(entry.detail))


class ContactTimeline:
    """`/api/v1/crm/contacts/{contact_id}/timeline`: what happened with a contact."""

    @endpoint(
        operation_id="listContactTimeline",
        query=TimelineFilter,
        response=Page[TimelineEntryOut],
        permission="contacts:read",
        audit="contact.read",
    )
    def on_get(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """List everything that the brand knows of a contact and those that it has taken in, latest first.

        A scan that was rejected is no entry. The audit trail records who has read the timeline.
        """
        query: TimelineFilter = req.context.query
        scope = f"timeline:{contact_id}:{query.kind}:{query.campaign_id}"
        found = timeline.find(
            contact_id,
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, Key, scope=scope),  # type: ignore[arg-type]
            kinds=query.kind or (),
            campaign_id=query.campaign_id,
        )
        audited(req, table="contacts", record_id=contact_id)
        items = [TimelineEntryOut.of(entry) for entry in found]
        resp.media = page_of(items, query.limit, lambda entry: (entry.at, entry.id, entry.kind), scope=scope)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/contacts/{contact_id:uuid}/timeline", ContactTimeline()),
]
