"""Own engagements: the campaigns in which a fan has taken part."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import engagements
from models.audiences.engagements import Engagement
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, decode_cursor, endpoint, page_of
from web.http.fields import BrandId, CampaignId

_LIST = "own_engagements"


class EngagementOut(msgspec.Struct):
    """The caller's part in a campaign."""

    campaign_id: CampaignId
    brand_id: BrandId
    first_at: Annotated[Instant, Meta(description="Time of the first event that counts, in UTC.")]
    last_at: Annotated[Instant, Meta(description="Time of the last event that counts, in UTC.")]
    scans: Annotated[int, Meta(description="Number of scans that count.", examples=[3])]
    surveys: Annotated[int, Meta(description="Number of answered surveys.", examples=[1])]
    rewards_granted: Annotated[int, Meta(description="Number of rewards granted.", examples=[1])]
    rewards_claimed: Annotated[int, Meta(description="Number of rewards claimed.", examples=[1])]
    rewards_redeemed: Annotated[int, Meta(description="Number of rewards redeemed.", examples=[0])]
    check_ins: Annotated[int, Meta(description="Number of check-ins at events.", examples=[0])]
    conversions: Annotated[int, Meta(description="Number of conversions that the brand reported.", examples=[0])]

    @classmethod
    def of(cls, engagement: Engagement) -> "EngagementOut":
        """Build the response for an engagement."""
        return msgspec.convert(engagement, cls, from_attributes=True)


class OwnEngagements:
    """`/api/v1/users/me/engagements`: the caller's engagements."""

    @endpoint(query=PageQuery, response=Page[EngagementOut], permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the campaigns in which the caller has taken part, latest first.

        A scan is included within seconds of its report, once it is scored.
        """
        asked: PageQuery = req.context.query
        after = decode_cursor(asked.cursor, tuple[datetime, UUID], scope=_LIST)
        found = engagements.find_own(limit=asked.limit + 1, after=after)
        items = [EngagementOut.of(engagement) for engagement in found]
        resp.media = page_of(items, asked.limit, lambda e: (e.last_at, e.campaign_id), scope=_LIST)


ROUTES: list[tuple[str, object]] = [("/api/v1/users/me/engagements", OwnEngagements())]
