"""Campaigns: list, create, read and configure them.

A campaign is created as a draft and launched by a job, which checks that nothing is missing.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns
from models.campaigns.campaigns import (
    CampaignCompleted,
    CampaignStatus,
    CampaignType,
    FixedSinceLaunch,
    LaunchInProgress,
)
from models.campaigns.config import Config
from models.core.errors import PreconditionFailed
from web.http.endpoint import Page, PageQuery, audited, changes, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import Text200
from web.v1.campaigns._schemas import CAMPAIGN, CampaignOut, Name, Type, content_of


class CampaignFilter(PageQuery, kw_only=True):
    """Filter of the list of campaigns; all conditions must hold."""

    name: Annotated[
        Text200 | None,
        Meta(description="Only campaigns with this text in their name, in any case. Default: all.", examples=["plaza"]),
    ] = None
    status: Annotated[
        CampaignStatus | None, Meta(description="Only campaigns with this status. Default: all.", examples=["Active"])
    ] = None
    type: Annotated[
        CampaignType | None, Meta(description="Only campaigns of this type. Default: all.", examples=["QR"])
    ] = None


class CampaignIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new campaign."""

    name: Name
    type: Type
    config: Annotated[
        Config, Meta(description="Rules for the scans of the campaign. Default: each rule has its own default.")
    ] = Config()


class CampaignReplacement(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """New values of all fields of a campaign that can be changed."""

    name: Name
    type: Type
    config: Annotated[
        Config,
        Meta(
            description="All rules for the scans of the campaign. A rule that is left out gets its default: it does "
            "not keep its value."
        ),
    ]


class Campaigns:
    """`/api/v1/campaigns`: the campaigns of a brand."""

    @endpoint(query=CampaignFilter, response=Page[CampaignOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List campaigns, newest first.

        A Creator sees assigned campaigns only. Their figures are in `GET /api/v1/analytics/overview`.
        """
        query: CampaignFilter = req.context.query
        scope = f"campaigns:{query.status}:{query.type}:{query.name}"
        found = campaigns.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope),
            name=query.name,
            status=query.status,
            kind=query.type,
        )
        items = [CampaignOut.of(campaign) for campaign in found]
        resp.media = page_of(items, query.limit, lambda item: (item.created_at, item.id), scope=scope)

    @endpoint(
        body=CampaignIn,
        response=CampaignOut,
        status=201,
        permission="campaigns:write",
        audit="campaign.create",
        idempotent=True,
        example=CAMPAIGN,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a draft campaign.

        Scans of its codes are refused until `POST /api/v1/campaigns/{campaign_id}/launch`. Rules that a launch needs,
        such as the end of an `Event`, may be missing in a draft.
        """
        body: CampaignIn = req.context.body
        campaign = campaigns.create(name=body.name, kind=body.type, config=body.config)
        audited(req, table="campaigns", record_id=campaign.id, after=content_of(campaign))
        resp.location = f"/api/v1/campaigns/{campaign.id}"
        etag(resp, campaign.version)
        resp.media = CampaignOut.of(campaign)


class Campaign:
    """`/api/v1/campaigns/{campaign_id}`: one campaign."""

    @endpoint(response=CampaignOut, permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Read a campaign.

        Send its `ETag` as `If-Match` with the next `PUT`, so that the change of another member is not overwritten.
        """
        campaign = campaigns.get(campaign_id)
        etag(resp, campaign.version)
        resp.media = CampaignOut.of(campaign)

    @endpoint(
        body=CampaignReplacement,
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.update",
        problems=(CampaignCompleted, FixedSinceLaunch, LaunchInProgress, PreconditionFailed),
        example=CAMPAIGN,
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Replace a campaign's name, type and configuration.

        Members of `config` that are left out get their defaults: read the campaign, change it, and send all of it. The
        rules apply to scans that are received from then on. The launch fixes `type` and `config.timezone`
        (`fixed_since_launch` names the fields). While the launch job runs, the campaign can't be changed.
        """
        body: CampaignReplacement = req.context.body
        campaign = campaigns.get_for_update(campaign_id)
        require_match(req, campaign.version)
        replaced = campaigns.replace(campaign, name=body.name, kind=body.type, config=body.config)
        before, now = changes(content_of(campaign), content_of(replaced))
        audited(req, table="campaigns", record_id=campaign_id, before=before, after=now)
        etag(resp, replaced.version)
        resp.media = CampaignOut.of(replaced)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/campaigns", Campaigns()),
    ("/api/v1/campaigns/{campaign_id:uuid}", Campaign()),
]
