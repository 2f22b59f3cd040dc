"""Live metrics: what happens in a campaign now, counted by Coliseum.

For reach and figures that are settled, read the overview.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import live_metrics
from models.audiences.engagement_events import EngagementKind
from models.audiences.live_metrics import LiveMetrics
from models.campaigns import campaigns
from web.http.datetimes import Instant
from web.http.endpoint import endpoint, wait_for
from web.http.fields import CampaignId


class LiveMinuteOut(msgspec.Struct):
    """The events of one kind within one minute."""

    minute: Annotated[Instant, Meta(description="Beginning of the minute, in UTC.")]
    kind: Annotated[EngagementKind, Meta(description="What fans did.", examples=["scan"])]
    n: Annotated[int, Meta(description="Events that occurred in it, minus reversed ones.", examples=[42])]


class LiveMetricsOut(msgspec.Struct):
    """Live counts of a campaign."""

    campaign_id: CampaignId
    as_of: Annotated[
        Instant | None, Meta(description="Time of the counts, in UTC; null if Coliseum has not answered yet.")
    ]
    totals: Annotated[
        dict[EngagementKind, int],
        Meta(description="Events since the launch by kind, minus reversed ones.", examples=[{"scan": 1250}]),
    ]
    minutes: Annotated[
        list[LiveMinuteOut], Meta(description="Events of the last hour by minute and kind, oldest first.")
    ]

    @classmethod
    def of(cls, campaign_id: UUID, metrics: LiveMetrics) -> "LiveMetricsOut":
        """Build the response."""
        shown = {"campaign_id": campaign_id, "as_of": metrics.as_of, "totals": metrics.totals}
        return msgspec.convert(shown | {"minutes": metrics.minutes}, cls)


class CampaignLiveMetrics:
    """`/api/v1/campaigns/{campaign_id}/live-metrics`: live counts of a campaign."""

    @endpoint(response=LiveMetricsOut, permission="analytics:read", waits=True)
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Read the live counts of a campaign.

        Coliseum counts the events within seconds. If it doesn't answer, the counts are the last known ones: look at
        `as_of`. Poll no more often than every two seconds: until then the answer stays the same.
        """
        campaign = campaigns.get(campaign_id)
        job = live_metrics.request(campaign.id)
        wait_for(req, resp, job, lambda: LiveMetricsOut.of(campaign.id, live_metrics.read(campaign.id)))


ROUTES: list[tuple[str, object]] = [("/api/v1/campaigns/{campaign_id:uuid}/live-metrics", CampaignLiveMetrics())]
