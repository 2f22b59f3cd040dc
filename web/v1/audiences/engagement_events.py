"""Engagement events: each thing that a fan did in a campaign, and its reversal.

A scan counts as an event once it is scored. An event whose source no longer counts is reversed by another event.
"""

from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import engagement_events
from models.audiences.engagement_events import EngagementEvent, EngagementKind
from web.http.datetimes import Instant, period_in_utc
from web.http.endpoint import Page, PageQuery, decode_cursor, endpoint, page_of
from web.http.fields import CampaignId, Id


class EngagementEventQuery(PageQuery, kw_only=True, rename={"start": "from", "end": "to"}):
    """Filters of the list."""

    campaign_id: Annotated[
        UUID | None, Meta(description="Only events of the campaign with this id. Default: all that the caller may see.")
    ] = None
    kind: Annotated[EngagementKind | None, Meta(description="Only events of this kind. Default: every kind.")] = None
    start: Annotated[
        Instant | None, Meta(description="Only events that occurred at or after this time. Default: no bound.")
    ] = None
    end: Annotated[
        Instant | None, Meta(description="Only events that occurred before this time. Default: no bound.")
    ] = None


class EngagementEventOut(msgspec.Struct):
    """An engagement event."""

    id: Id
    campaign_id: CampaignId
    kind: Annotated[EngagementKind, Meta(description="What the fan did.", examples=["scan"])]
    user_id: Annotated[UUID | None, Meta(description="Id of the fan's account; null for a contact without an account.")]
    contact_id: Annotated[UUID | None, Meta(description="Id of a contact without an account; null for a fan.")]
    source_id: Annotated[
        UUID, Meta(description="Id of the scan, reward, ticket or conversion; the same in the event and its reversal.")
    ]
    occurred_at: Annotated[Instant, Meta(description="Time at which the fan did it, in UTC; of a reversal, too.")]
    received_at: Annotated[Instant, Meta(description="Time at which the event or the reversal was recorded, in UTC.")]
    reversal_of: Annotated[
        UUID | None, Meta(description="Id of the event that no longer counts; null if this is no reversal.")
    ]

    @classmethod
    def of(cls, event: EngagementEvent) -> "EngagementEventOut":
        """Build the response for an event."""
        return cls(
            id=event.id,
            campaign_id=event.campaign_id,
            kind=cast(EngagementKind, event.kind),
            user_id=event.user_id,
            contact_id=event.contact_id,
            source_id=event.source_id,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            reversal_of=event.reversal_of,
        )


class EngagementEvents:
    """`/api/v1/engagement-events`: the engagement events of a brand."""

    @endpoint(query=EngagementEventQuery, response=Page[EngagementEventOut], permission="analytics:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the engagement events of the brand, latest occurrence first.

        Events are kept for 36 months. A campaign that the caller may not see has no events.
        """
        asked: EngagementEventQuery = req.context.query
        start, end = period_in_utc(asked.start, asked.end)
        scope = f"engagement_events:{asked.campaign_id}:{asked.kind}:{start}:{end}"
        found = engagement_events.find(
            campaign_id=asked.campaign_id,
            kind=asked.kind,
            start=start,
            end=end,
            limit=asked.limit + 1,
            after=decode_cursor(asked.cursor, tuple[datetime, UUID], scope=scope),
        )
        items = [EngagementEventOut.of(event) for event in found]
        resp.media = page_of(items, asked.limit, lambda e: (e.occurred_at, e.id), scope=scope)


ROUTES: list[tuple[str, object]] = [("/api/v1/engagement-events", EngagementEvents())]
