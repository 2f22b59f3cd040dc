"""Printed codes of a campaign: create and list them, and draw their pictures.

Codes can be created before and after the launch; a scan counts while the campaign is active.
"""

import io
from typing import Annotated, Any
from uuid import UUID

import msgspec
import segno
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, codes
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted
from models.campaigns.codes import LabelTaken
from models.core import texts
from models.core.errors import PreconditionFailed
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import CampaignId, CreatedAt, Id, Text200, UriText

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


class CodeFilter(PageQuery, kw_only=True):
    """Filter of the list of codes."""

    disabled: Annotated[
        bool | None,
        Meta(description="true: only disabled codes. false: only enabled ones. Default: both.", examples=[False]),
    ] = None


class CampaignCodes:
    """`/api/v1/campaigns/{campaign_id}/codes`: the signed codes of a campaign."""

    @endpoint(operation_id="listCodes", query=CodeFilter, response=Page[CodeOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List a campaign's codes, oldest first.

        A launch creates the first code, with the label `default`, if there is none.
        """
        query: CodeFilter = req.context.query
        scope = f"codes:{campaigns.get(campaign_id).id}:{query.disabled}"
        after = decode_cursor(query.cursor, UUID, scope=scope)
        found = codes.find(campaign_id, limit=query.limit + 1, after=after, disabled=query.disabled)
        resp.media = page_of([CodeOut.of(code) for code in found], query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        operation_id="createCode",
        body=CodeIn,
        response=CodeOut,
        status=201,
        permission="campaigns:write",
        audit="code.create",
        idempotent=True,
        problems=(CampaignArchived, CampaignCompleted, LabelTaken),
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
        code = codes.get(campaign_id, code_id)
        etag(resp, _state(code))
        resp.media = CodeOut.of(code)


class CampaignCodeDisable:
    """`/api/v1/campaigns/{campaign_id}/codes/{code_id}/disable`: disable a code, or enable it again."""

    @endpoint(
        operation_id="disableCode",
        response=CodeOut,
        permission="campaigns:write",
        audit="code.disable",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Disable a code, for example a stolen or copied one.

        Its scans that are received from now on are refused with `unknown_code`, whatever the time of the scan. A
        disabled code stays as it is.
        """
        before = codes.get(campaign_id, code_id)
        require_match(req, _state(before))
        _respond_disabled(req, resp, before, codes.disable(campaign_id, code_id))

    @endpoint(operation_id="enableCode", response=CodeOut, permission="campaigns:write", audit="code.enable")
    def on_delete(self, req: Request, resp: Response, campaign_id: UUID, code_id: UUID) -> None:
        """Enable a disabled code again. An enabled code stays as it is."""
        before = codes.get(campaign_id, code_id)
        _respond_disabled(req, resp, before, codes.enable(campaign_id, code_id))


def _respond_disabled(req: Request, resp: Response, before: codes.QrCode, after: codes.QrCode) -> None:
    was, is_now = {"disabled_at": before.disabled_at}, {"disabled_at": after.disabled_at}
    audited(req, table="qr_codes", record_id=after.id, before=was, after=is_now)
    etag(resp, _state(after))
    resp.media = CodeOut.of(after)


def _state(code: codes.QrCode) -> object:
    """Return what can change of a code, as its version."""
    return code.disabled_at or "enabled"


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


_CODES = "/api/v1/campaigns/{campaign_id:uuid}/codes"

ROUTES: list[tuple[str, object]] = [
    (_CODES, CampaignCodes()),
    (f"{_CODES}/{{code_id:uuid}}", CampaignCode()),
    (f"{_CODES}/{{code_id:uuid}}/disable", CampaignCodeDisable()),
    (f"{_CODES}/{{code_id:uuid}}/image.png", CampaignCodePng()),
    (f"{_CODES}/{{code_id:uuid}}/image.svg", CampaignCodeSvg()),
]
