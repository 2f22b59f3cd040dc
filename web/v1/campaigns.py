"""Campaigns: create, configure and launch them, and print their codes.

A campaign is created as a draft and launched by a job, which checks that nothing is missing. Its codes can be created
before and after the launch; a scan counts while the campaign is active.
"""

import io
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import segno
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import (
    CampaignCompleted,
    CampaignStatus,
    CampaignType,
    FixedSinceLaunch,
    IllegalTransition,
    LaunchInProgress,
)
from models.campaigns.codes import LabelTaken
from models.campaigns.config import Config
from models.campaigns.launch import NotReady
from models.core import texts
from models.core.errors import PreconditionFailed
from models.tenants.brands import BrandArchived
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import (
    Page,
    PageQuery,
    accept,
    audited,
    changes,
    decode_cursor,
    endpoint,
    etag,
    page_of,
    require_match,
)
from web.http.fields import CampaignId, CreatedAt, Id, Text200, UpdatedAt, UriText, Version

Name = Annotated[
    Text200, Meta(description="Name of the campaign; fans see it before a scan.", examples=["Plaza Mayor"])
]
Type = Annotated[CampaignType, Meta(description="Type of the campaign; fixed by the launch.", examples=["QR"])]
ConfigField = Annotated[Config, Meta(description="Rules for the scans of the campaign.")]

CAMPAIGN = {
    "name": "Plaza Mayor",
    "type": "QR",
    "config": {
        "geofence": {"lat": 40.41541, "lon": -3.7074, "radius_m": 300, "when_uncertain": "flag"},
        "scan_limit": {
            "per_user": {"count": 1, "window": "day"},
            "per_device": {"count": 3, "window": "day"},
            "total": {"count": 5000, "window": "lifetime"},
        },
        "consent_tiers": ["essential", "analytics"],
        "timezone": "Europe/Madrid",
        "starts_at": "2026-12-01T09:00:00Z",
        "ends_at": "2036-12-24T22:00:00Z",
    },
}
"""Example of a campaign that can be launched."""


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


class CampaignOut(msgspec.Struct):
    """A campaign."""

    id: Id
    type: Type
    name: Name
    status: Annotated[
        CampaignStatus,
        Meta(description="Present status: `Draft` until the launch, then `Active`.", examples=["Active"]),
    ]
    config: ConfigField
    version: Version
    launch_job_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the launch job that runs or has failed, for `GET /api/v1/jobs/{job_id}`; null before "
            "the launch and after its success."
        ),
    ]
    launched_at: Annotated[
        Instant | None, Meta(description="Time at which the campaign became active, in UTC; null for a draft.")
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt

    @classmethod
    def of(cls, campaign: campaigns.Campaign) -> "CampaignOut":
        """Build the response for a campaign."""
        return msgspec.convert(campaign, cls, from_attributes=True)


TOKEN = "AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng"
"""Example of a token."""

CodeLabel = Annotated[
    Text200,
    Meta(
        description="Label of the code, for example its place; unique within the campaign. Fans don't see it.",
        examples=["Door on Calle Mayor"],
    ),
]


class CodeIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new code."""

    label: CodeLabel


class CodeOut(msgspec.Struct):
    """A signed code."""

    id: Id
    campaign_id: CampaignId
    label: CodeLabel
    token: Annotated[
        str,
        Meta(
            description="Signed text that identifies the code: the last part of `url`, and `code` of a scan.",
            examples=[TOKEN],
        ),
    ]
    url: Annotated[
        UriText,
        Meta(
            description="URL in the picture of the code. The page there performs the scan in a browser.",
            examples=[f"https://app.companon.example/s/{TOKEN}"],
        ),
    ]
    created_at: CreatedAt
    disabled_at: Annotated[
        Instant | None,
        Meta(
            description="Time from which scans of the code are refused with `unknown_code`; null while it is enabled."
        ),
    ]

    @classmethod
    def of(cls, code: codes.QrCode) -> "CodeOut":
        """Build the response for a code. The token is computed; the result is the same each time."""
        token = codes.make_token(code.id, code.key_version)
        url = codes.url_of(token)
        return cls(code.id, code.campaign_id, code.label, token, url, code.created_at, code.disabled_at)


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
        audited(req, table="campaigns", record_id=campaign.id, after=_content(campaign))
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
        before, now = changes(_content(campaign), _content(replaced))
        audited(req, table="campaigns", record_id=campaign_id, before=before, after=now)
        etag(resp, replaced.version)
        resp.media = CampaignOut.of(replaced)


class CampaignLaunch:
    """`/api/v1/campaigns/{campaign_id}/launch`: start the launch job."""

    @endpoint(
        response=JobOut,
        status=202,
        permission="campaigns:launch",
        audit="campaign.launch",
        idempotent=True,
        problems=(BrandArchived, IllegalTransition, NotReady),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Launch a campaign. Return the running launch job if there is one.

        The answer is the job `campaign.launch`: poll its `Location` until `state` is `done`. The job checks the
        campaign again, creates a code with the label `default` if the campaign has none, and makes the campaign
        `Active`. Before that, `not_ready` names everything that is missing in `errors`. After a failed job (`dead`),
        launch again.
        """
        job = launch.start(campaign_id)
        audited(req, table="campaigns", record_id=campaign_id, after={"launch_job_id": job.id})
        accept(resp, job)


class CampaignCodes:
    """`/api/v1/campaigns/{campaign_id}/codes`: the signed codes of a campaign."""

    @endpoint(operation_id="listCodes", query=PageQuery, response=Page[CodeOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List a campaign's codes, oldest first.

        A launch creates the first code, with the label `default`, if there is none.
        """
        query: PageQuery = req.context.query
        scope = f"codes:{campaigns.get(campaign_id).id}"
        found = codes.find(campaign_id, limit=query.limit + 1, after=decode_cursor(query.cursor, UUID, scope=scope))
        resp.media = page_of([CodeOut.of(code) for code in found], query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        operation_id="createCode",
        body=CodeIn,
        response=CodeOut,
        status=201,
        permission="campaigns:write",
        audit="code.create",
        idempotent=True,
        problems=(CampaignCompleted, LabelTaken),
        example={"label": "Door on Calle Mayor"},
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Create a code for a campaign.

        Print a code for each place, to tell their scans apart. A code of a draft can be printed before the launch;
        scans made before its creation are refused with `campaign_not_active`.
        """
        body: CodeIn = req.context.body
        code = codes.add(campaign_id, body.label)
        after = {"campaign_id": campaign_id, "label": code.label, "key_version": code.key_version}
        audited(req, table="qr_codes", record_id=code.id, after=after)
        resp.location = f"/api/v1/campaigns/{campaign_id}/codes/{code.id}"
        resp.media = CodeOut.of(code)


class CampaignCode:
    """`/api/v1/campaigns/{campaign_id}/codes/{code_id}`: one code."""

    @endpoint(operation_id="getCode", response=CodeOut, permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Read a code, with its token and URL. Both are the same each time."""
        resp.media = CodeOut.of(codes.get(campaign_id, code_id))


class CampaignCodeSvg:
    """`/api/v1/campaigns/{campaign_id}/codes/{code_id}/image.svg`: the picture of a code, for print."""

    @endpoint(operation_id="getCodeSvg", permission="campaigns:read", media="image/svg+xml")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Return the picture of a code as SVG, for print at any size.

        The picture contains the code's URL, and is readable with up to a quarter of it damaged. Its title is the label.
        """
        code = CodeOut.of(codes.get(campaign_id, code_id))
        resp.data = _picture(code.url, kind="svg", scale=8, title=texts.for_xml(code.label))
        resp.content_type = "image/svg+xml"


class PngQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Size of the picture."""

    scale: Annotated[
        int,
        Meta(
            ge=1,
            le=40,
            description="Pixels per module, the smallest square of a code. A picture has about 50 modules per side, "
            "its white margin included. Default: 16, about 800 pixels per side.",
            examples=[16],
        ),
    ] = 16


class CampaignCodePng:
    """`/api/v1/campaigns/{campaign_id}/codes/{code_id}/image.png`: the picture of a code, for documents."""

    @endpoint(operation_id="getCodePng", query=PngQuery, permission="campaigns:read", media="image/png")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Return the picture of a code as PNG, for documents and programs without SVG.

        The same code as `image.svg`, in black on white.
        """
        query: PngQuery = req.context.query
        code = CodeOut.of(codes.get(campaign_id, code_id))
        resp.data = _picture(code.url, kind="png", scale=query.scale)
        resp.content_type = "image/png"


def _picture(url: str, **options: Any) -> bytes:
    picture = io.BytesIO()
    # Error correction "q": readable with up to a quarter of the modules damaged.
    segno.make(url, error="q", micro=False).save(picture, **options)
    return picture.getvalue()


def _content(campaign: campaigns.Campaign) -> dict[str, Any]:
    return {"name": campaign.name, "type": campaign.type, "config": campaign.config}


_ONE = "/api/v1/campaigns/{campaign_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    ("/api/v1/campaigns", Campaigns()),
    (_ONE, Campaign()),
    (f"{_ONE}/launch", CampaignLaunch()),
    (f"{_ONE}/codes", CampaignCodes()),
    (f"{_ONE}/codes/{{code_id:uuid}}", CampaignCode()),
    (f"{_ONE}/codes/{{code_id:uuid}}/image.png", CampaignCodePng()),
    (f"{_ONE}/codes/{{code_id:uuid}}/image.svg", CampaignCodeSvg()),
]
