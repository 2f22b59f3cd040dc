"""Resources of campaigns, their launch and their printed codes."""

import io
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import segno
from falcon.asgi import Request, Response

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import (
    CampaignCompleted,
    FixedSinceLaunch,
    IllegalTransition,
    Kind,
    LaunchInProgress,
    Status,
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
from web.http.fields import Text200

CampaignType = Annotated[Kind, msgspec.Meta(description="A Locker Drop, an Event Partnership or a QR activation.")]


class CampaignFilter(PageQuery, kw_only=True):
    """Filter of the list of campaigns."""

    status: Annotated[Status, msgspec.Meta(description="Only campaigns with this status.")] | None = None
    type: CampaignType | None = None


class CampaignIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new campaign. Fields that the configuration leaves out get their defaults."""

    name: Text200
    type: CampaignType
    config: Config = Config()


class CampaignReplacement(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """New values of all fields of a campaign that can be changed."""

    name: Text200
    type: CampaignType
    config: Config


class CampaignOut(msgspec.Struct):
    """A campaign."""

    id: UUID
    type: Kind
    name: str
    status: Status
    config: Config
    version: int
    launch_job_id: UUID | None
    launched_at: Instant | None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, campaign: campaigns.Campaign) -> "CampaignOut":
        """Build the response for a campaign."""
        return msgspec.convert(campaign, cls, from_attributes=True)


class CodeIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new code. The label is unique within the campaign, e.g. the place of the code."""

    label: Text200


class CodeOut(msgspec.Struct):
    """A signed code. `url` is the contents of its picture; a scan sends `token`."""

    id: UUID
    campaign_id: UUID
    label: str
    token: str
    url: str
    created_at: Instant
    disabled_at: Instant | None

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
        """List campaigns, newest first."""
        query: CampaignFilter = req.context.query
        scope = f"campaigns:{query.status}:{query.type}"
        found = campaigns.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope),
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
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a draft campaign."""
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
        """Read a campaign."""
        campaign = campaigns.get(campaign_id)
        etag(resp, campaign.version)
        resp.media = CampaignOut.of(campaign)

    @endpoint(
        body=CampaignReplacement,
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.update",
        problems=(CampaignCompleted, FixedSinceLaunch, LaunchInProgress, PreconditionFailed),
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Replace a campaign's name, type and configuration. The launch fixes type and time zone."""
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
        """Launch a campaign. Return the running launch job if there is one."""
        job = launch.start(campaign_id)
        audited(req, table="campaigns", record_id=campaign_id, after={"launch_job_id": job.id})
        accept(resp, job)


class CampaignCodes:
    """`/api/v1/campaigns/{campaign_id}/codes`: the signed codes of a campaign."""

    @endpoint(operation_id="listCodes", query=PageQuery, response=Page[CodeOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List a campaign's codes, oldest first."""
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
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Create a code for a campaign."""
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
        """Read a code."""
        resp.media = CodeOut.of(codes.get(campaign_id, code_id))


class CampaignCodeImage:
    """`/api/v1/campaigns/{campaign_id}/codes/{code_id}/image`: the picture of a code."""

    @endpoint(operation_id="getCodeImage", permission="campaigns:read", media="image/svg+xml")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Return a code as SVG for print at any size. It is readable with up to a quarter of it damaged."""
        code = CodeOut.of(codes.get(campaign_id, code_id))
        picture = io.BytesIO()
        segno.make(code.url, error="q", micro=False).save(picture, kind="svg", scale=8, title=texts.for_xml(code.label))
        resp.content_type = "image/svg+xml"
        resp.data = picture.getvalue()


def _content(campaign: campaigns.Campaign) -> dict[str, Any]:
    return {"name": campaign.name, "type": campaign.type, "config": campaign.config}


_ONE = "/api/v1/campaigns/{campaign_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    ("/api/v1/campaigns", Campaigns()),
    (_ONE, Campaign()),
    (f"{_ONE}/launch", CampaignLaunch()),
    (f"{_ONE}/codes", CampaignCodes()),
    (f"{_ONE}/codes/{{code_id:uuid}}", CampaignCode()),
    (f"{_ONE}/codes/{{code_id:uuid}}/image", CampaignCodeImage()),
]
