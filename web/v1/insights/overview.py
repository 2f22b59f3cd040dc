"""Overview: scans, reach and refusals of your brand's campaigns in a period of whole hours.

A number changes while scans are scored or arrive late. `settled` says whether all known scans are counted.
"""

from typing import Annotated, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns.statuses import CampaignStatus
from models.core.errors import NotFound
from models.insights import overview
from models.insights.overview import DEFINITIONS, Numbers, Window
from models.scans.fraud import RULES
from web.http.datetimes import Instant
from web.http.endpoint import endpoint
from web.http.fields import CampaignId


class OverviewQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Selection: one campaign or all campaigns, all time or a window."""

    campaign_id: Annotated[
        UUID | None, Meta(description="Only the campaign with this id. Default: all campaigns that the caller may see.")
    ] = None
    start: Annotated[
        Instant | None,
        Meta(
            description="Only scans made at or after this time: a date and time with its offset, at a whole hour in "
            "UTC. A date alone is refused: send the beginning of the day in your time zone. Default: no bound.",
            examples=["2026-11-22T00:00:00+01:00"],
        ),
    ] = None
    end: Annotated[
        Instant | None,
        Meta(
            description="Only scans made before this time, which must be later than `from`: a date and time with its "
            "offset, at a whole hour in UTC. Default: no bound.",
            examples=["2026-11-23T00:00:00+01:00"],
        ),
    ] = None


class WindowOut(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """The window of the numbers, by the time of the scans."""

    start: Annotated[Instant | None, Meta(description="Start, included, in UTC; null: no bound.")]
    end: Annotated[Instant | None, Meta(description="End, excluded, in UTC; null: no bound.")]


class NumbersOut(msgspec.Struct):
    """The numbers of one campaign, or of all campaigns together."""

    scans: Annotated[int, Meta(description=DEFINITIONS["scans"], examples=[1250])]
    accepted: Annotated[int, Meta(description=DEFINITIONS["accepted"], examples=[1100])]
    rejected: Annotated[int, Meta(description=DEFINITIONS["rejected"], examples=[150])]
    rejected_by_reason: Annotated[
        dict[str, int],
        Meta(
            description=f"{DEFINITIONS['rejected_by_reason']} A reason is the error code of the refusal; reasons "
            "without a scan are left out.",
            examples=[{"geofence_outside": 90, "limit_reached": 60}],
        ),
    ]
    unstored_by_reason: Annotated[
        dict[str, int],
        Meta(
            description=f"{DEFINITIONS['unstored_by_reason']} The reasons are `account_required`, `consent_required` "
            "and `location_required`.",
            examples=[{"consent_required": 40}],
        ),
    ]
    flagged: Annotated[int, Meta(description=DEFINITIONS["flagged"], examples=[12])]
    flagged_by_rule: Annotated[
        dict[str, int],
        Meta(
            description=f"{DEFINITIONS['flagged_by_rule']} The rules are "
            + ", ".join(f"`{name}`" for name in RULES)
            + ".",
            examples=[{"device.velocity": 7, "travel.impossible": 5}],
        ),
    ]
    under_review: Annotated[int, Meta(description=DEFINITIONS["under_review"], examples=[9])]
    provisional_share: Annotated[float | None, Meta(description=DEFINITIONS["provisional_share"], examples=[0.0082])]
    reach: Annotated[int, Meta(description=DEFINITIONS["reach"], examples=[830])]
    engagement_rate: Annotated[
        float | None,
        Meta(
            description=f"{DEFINITIONS['engagement_rate']} A share from 0 to 1; null for the reason in "
            "`engagement_rate_reason`."
        ),
    ]
    engagement_rate_reason: Annotated[
        str | None,
        Meta(
            description="Why `engagement_rate` is null, in English; null if it has a value.",
            examples=[overview.NO_CONVERSIONS],
        ),
    ]
    roi: Annotated[
        float | None,
        Meta(
            description=f"Return on investment: {DEFINITIONS['roi']} 0.5 is 50 %; null for the reason in `roi_reason`."
        ),
    ]
    roi_reason: Annotated[
        str | None,
        Meta(description="Why `roi` is null, in English; null if it has a value.", examples=[overview.NO_COSTS]),
    ]

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

    id: CampaignId
    name: Annotated[
        str,
        Meta(
            description="Current name of the campaign, also for scans made under an earlier name.",
            examples=["Plaza Mayor"],
        ),
    ]
    status: Annotated[CampaignStatus, Meta(description="Status of the campaign, as in `GET /api/v1/campaigns`.")]


class OverviewOut(msgspec.Struct):
    """The overview of a brand's campaigns."""

    as_of: Annotated[Instant, Meta(description=DEFINITIONS["as_of"])]
    window: Annotated[WindowOut, Meta(description=DEFINITIONS["window"])]
    pending: Annotated[int, Meta(description=DEFINITIONS["pending"], examples=[0])]
    settled: Annotated[bool, Meta(description=DEFINITIONS["settled"], examples=[True])]
    totals: Annotated[
        NumbersOut, Meta(description="Numbers of all selected campaigns together, also of those that are not listed.")
    ]
    campaigns: Annotated[
        list[CampaignNumbersOut], Meta(description="Numbers of each selected campaign, the newest first, at most 100.")
    ]
    more_campaigns: Annotated[
        bool,
        Meta(description="Whether there are campaigns that are not listed: ask for one of them by `campaign_id`."),
    ]
    definitions: Annotated[
        dict[str, str],
        Meta(
            description="Definition of each number, in English, to be shown beside it.",
            examples=[{"reach": DEFINITIONS["reach"]}],
        ),
    ]

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
                    status=cast(CampaignStatus, campaign.status),
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
        """Read the numbers of a brand's campaigns, with their definitions.

        Jobs count a scan within about a second, and score it. `pending` and `provisional_share` show how much can still
        change; while `settled` is false, ask again after some seconds. A Creator sees assigned campaigns only.
        """
        query: OverviewQuery = req.context.query
        window = Window.of(query.start, query.end)
        found = overview.overview(query.campaign_id, window)
        resp.cache_control = ["no-store"]
        resp.media = OverviewOut.of(found)


ROUTES: list[tuple[str, object]] = [("/api/v1/analytics/overview", Overview())]
