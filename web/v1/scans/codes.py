"""Describe a code before it is scanned."""

import hashlib
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.campaigns.campaigns import Kind
from models.consents.consents import Tier
from models.consents.notices import Notice
from models.scans.description import Description, Status, describe
from models.scans.outcomes import REFUSALS
from web.http.datetimes import Instant
from web.http.endpoint import endpoint, etag
from web.http.fields import Locale
from web.http.locales import preferred

PUBLIC_SECONDS = 30
"""Seconds for which a cache may keep the description of an anonymous caller."""


class CodeQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Language of the notice. Default: the best match of `Accept-Language`."""

    locale: Locale | None = None


class ScanBrandOut(msgspec.Struct):
    """The brand of a code."""

    id: UUID
    name: str
    color: Annotated[str, msgspec.Meta(description="As in CSS.", examples=["#ff8800"])] | None


class ScanCampaignOut(msgspec.Struct):
    """The campaign of a code."""

    id: UUID
    name: str
    type: Kind


class ScanNoticeOut(msgspec.Struct):
    """The notice to show. Send its `id` as `notice_id` with each consent."""

    id: UUID
    key: str
    version: int
    locale: str
    title: str
    body: str
    tiers: list[Tier]

    @classmethod
    def of(cls, notice: Notice) -> "ScanNoticeOut":
        """Build the response."""
        return msgspec.convert(notice, cls, from_attributes=True)


class CodeDescriptionOut(msgspec.Struct):
    """Brand, campaign and requirements of a code.

    `account_required`: scans of anonymous fans are refused. `account_missing`: the caller is an anonymous fan and needs
    an account. `account_missing` and `missing_tiers` are null unless a person is signed in.
    """

    brand: ScanBrandOut
    campaign: ScanCampaignOut
    status: Status
    starts_at: Instant | None
    ends_at: Instant | None
    location_required: bool
    account_required: bool
    account_missing: bool | None
    consent_tiers: list[Tier]
    missing_tiers: list[Tier] | None
    notice: ScanNoticeOut | None

    @classmethod
    def of(cls, found: Description) -> "CodeDescriptionOut":
        """Build the response."""
        return cls(
            brand=ScanBrandOut(**found.brand),
            campaign=ScanCampaignOut(**found.campaign),
            status=found.status,
            starts_at=found.starts_at,
            ends_at=found.ends_at,
            location_required=found.location_required,
            account_required=found.account_required,
            account_missing=found.account_missing,
            consent_tiers=found.consent_tiers,
            missing_tiers=found.missing_tiers,
            notice=ScanNoticeOut.of(found.notice) if found.notice else None,
        )


class ScanCode:
    """`/api/v1/qr/codes/{token}`: the description of a code."""

    @endpoint(
        operation_id="describeCode",
        query=CodeQuery,
        response=CodeDescriptionOut,
        permission="optional",
        problems=(REFUSALS["bad_token"], REFUSALS["unknown_code"]),
    )
    def on_get(self, req: Request, resp: Response, token: str) -> None:
        """Describe a code and the requirements of a scan. Nothing is stored or counted.

        Call this before a scan, to send the account, the consents and the location that the campaign requires.
        """
        query: CodeQuery = req.context.query
        locales = [query.locale] if query.locale else preferred(req.get_header("Accept-Language"))
        found = CodeDescriptionOut.of(describe(token, locales))
        etag(resp, hashlib.sha256(msgspec.json.encode(found)).hexdigest())
        resp.append_header("Vary", "Accept-Language, Authorization")
        signed_in = found.missing_tiers is not None
        resp.set_header("Cache-Control", "private, no-cache" if signed_in else f"public, max-age={PUBLIC_SECONDS}")
        resp.media = found


ROUTES: list[tuple[str, object]] = [("/api/v1/qr/codes/{token}", ScanCode())]
