"""Resource of the overview: the numbers of a brand's campaigns."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, NotFound
from models.insights import overview
from models.insights.overview import Numbers, Window
from web.http.datetimes import Instant
from web.http.endpoint import endpoint

Hour = Annotated[Instant, msgspec.Meta(description="RFC 3339; a whole hour in UTC.")]


class OverviewQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Selection: one campaign or all campaigns, all time or a window."""

    campaign_id: UUID | None = None
    start: Hour | None = None
    end: Hour | None = None


class WindowOut(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """The window of the numbers; null is no bound."""

    start: Instant | None
    end: Instant | None


class NumbersOut(msgspec.Struct):
    """The numbers of one campaign, or of all campaigns together. `definitions` of the overview defines each number."""

    scans: int
    accepted: int
    rejected: int
    rejected_by_reason: dict[str, int]
    unstored_by_reason: dict[str, int]
    flagged: int
    flagged_by_rule: dict[str, int]
    under_review: int
    provisional_share: float | None
    reach: int
    engagement_rate: float | None
    engagement_rate_reason: str | None
    roi: float | None
    roi_reason: str | None

    @classmethod
    def of(cls, numbers: Numbers) -> "NumbersOut":
        """Build the response for numbers. A number without data is null and has a reason."""
        return cls(
            scans=numbers.scans,
            accepted=numbers.accepted,
            rejected=numbers.rejected,
            rejected_by_reason=dict(numbers.reasons),
            unstored_by_reason=dict(numbers.unstored),
            flagged=numbers.flagged,
            flagged_by_rule=numbers.flagged_by_rule,
            under_review=numbers.under_review,
            provisional_share=numbers.provisional_share,
            reach=numbers.reach,
            engagement_rate=None,
            engagement_rate_reason=overview.NO_CONVERSIONS,
            roi=None,
            roi_reason=overview.NO_COSTS,
        )


class CampaignNumbersOut(NumbersOut):
    """The numbers of one campaign."""

    id: UUID
    name: str
    status: str


class OverviewOut(msgspec.Struct):
    """The overview. If `settled` is true, only new scans change it."""

    as_of: Instant
    window: WindowOut
    pending: int
    settled: bool
    totals: NumbersOut
    campaigns: list[CampaignNumbersOut]
    more_campaigns: bool
    definitions: dict[str, str]

    @classmethod
    def of(cls, found: overview.Overview) -> "OverviewOut":
        """Build the response for an overview."""
        return cls(
            as_of=found.as_of,
            window=WindowOut(found.window.start, found.window.end),
            pending=found.pending,
            settled=found.settled,
            totals=NumbersOut.of(found.totals),
            campaigns=[
                CampaignNumbersOut(
                    **msgspec.structs.asdict(NumbersOut.of(numbers)),
                    id=campaign.id,
                    name=campaign.name,
                    status=campaign.status,
                )
                for campaign, numbers in found.campaigns
            ],
            more_campaigns=found.more_campaigns,
            definitions=overview.DEFINITIONS,
        )


class Overview:
    """`/api/v1/analytics/overview`: the numbers of a brand's campaigns."""

    @endpoint(query=OverviewQuery, response=OverviewOut, permission="analytics:read", problems=(NotFound,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the numbers of a brand's campaigns, with their definitions and their provisional share."""
        query: OverviewQuery = req.context.query
        window = Window.of(query.start, query.end)
        if query.start and query.end and query.start >= query.end:
            raise Invalid("to", "must be later than from")
        found = overview.overview(query.campaign_id, window)
        resp.cache_control = ["no-store"]
        resp.media = OverviewOut.of(found)


ROUTES: list[tuple[str, object]] = [("/api/v1/analytics/overview", Overview())]
