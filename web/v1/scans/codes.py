"""Descriptions of codes: what a scan of a code needs, before anything is recorded.

An app reads this first, asks for the missing consents and the position, and then reports the scan.
"""

import hashlib
from typing import Annotated

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns.config import ScanWindow
from models.campaigns.statuses import CampaignType
from models.consents.consents import ConsentTier
from models.consents.notices import Notice
from models.scans.description import CodeStatus, Description, describe
from models.scans.outcomes import REFUSALS
from web.http.datetimes import Instant
from web.http.endpoint import endpoint, etag
from web.http.fields import (
    BrandId,
    CampaignId,
    Locale,
    NoticeBody,
    NoticeId,
    NoticeLocale,
    NoticeTiers,
    NoticeTitle,
    NoticeVersion,
)
from web.http.locales import preferred

PUBLIC_SECONDS = 30
"""Seconds for which a cache may keep the description of an anonymous caller."""


class CodeQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Language of the notice."""

    locale: Annotated[
        Locale | None,
        Meta(
            description="Language of the notice, a language tag (BCP 47). Default: the best match of "
            "`Accept-Language`.",
            examples=["es"],
        ),
    ] = None


class ScanBrandOut(msgspec.Struct):
    """The brand of a code."""

    id: BrandId
    name: Annotated[str, Meta(description="Name of the brand, to show to fans.", examples=["Churros Ana"])]
    color: Annotated[
        str | None,
        Meta(description="Colour of the brand as in CSS (`#` and six digits); null if not set.", examples=["#ff8800"]),
    ]


class ScanCampaignOut(msgspec.Struct):
    """The campaign of a code."""

    id: CampaignId
    name: Annotated[str, Meta(description="Name of the campaign, to show to fans.", examples=["Plaza Mayor"])]
    type: Annotated[
        CampaignType,
        Meta(description="Kind of activation, for the wording of an app.", examples=["QR"]),
    ]


class ScanNoticeOut(msgspec.Struct):
    """The notice to show before a person consents."""

    id: NoticeId
    key: Annotated[
        str, Meta(description="Key of the notice, the same in all languages and versions.", examples=["default"])
    ]
    version: NoticeVersion
    locale: NoticeLocale
    title: NoticeTitle
    body: NoticeBody
    tiers: NoticeTiers

    @classmethod
    def of(cls, notice: Notice) -> "ScanNoticeOut":
        """Build the response."""
        return msgspec.convert(notice, cls, from_attributes=True)


class CodeDescriptionOut(msgspec.Struct):
    """Brand, campaign and requirements of a code."""

    brand: Annotated[
        ScanBrandOut, Meta(description="Brand that runs the campaign: show it before you ask for consents.")
    ]
    campaign: Annotated[ScanCampaignOut, Meta(description="Campaign that counts scans of the code.")]
    status: Annotated[
        CodeStatus,
        Meta(description="Whether a scan made now can count.", examples=["active"]),
    ]
    test_mode: Annotated[
        bool,
        Meta(description="Whether the campaign is in test mode: scans are decided but don't count.", examples=[False]),
    ]
    starts_at: Annotated[Instant | None, Meta(description="Start of the campaign, in UTC; null: its launch.")]
    ends_at: Annotated[Instant | None, Meta(description="End of the campaign, in UTC; null: none is set.")]
    timezone: Annotated[
        str, Meta(description="Time zone of `scan_windows`, a name from the IANA database.", examples=["Europe/Madrid"])
    ]
    scan_windows: Annotated[
        list[ScanWindow],
        Meta(
            description="Weekly hours in which scans count; an empty list: any hour.",
            examples=[[{"days": ["fri", "sat"], "opens": "18:00", "closes": "02:00"}]],
        ),
    ]
    opens_at: Annotated[
        Instant | None,
        Meta(
            description="Next opening of `scan_windows`, in UTC; null if scans count now, at any hour, or never again."
        ),
    ]
    location_required: Annotated[
        bool, Meta(description="Whether a scan needs `location`; otherwise it is refused with `location_required`.")
    ]
    account_required: Annotated[
        bool, Meta(description="Whether scans of anonymous fans are refused with `account_required`.")
    ]
    account_missing: Annotated[
        bool | None,
        Meta(
            description="Whether the caller is an anonymous fan and needs an account; null unless a person is signed "
            "in."
        ),
    ]
    consent_tiers: Annotated[
        list[ConsentTier],
        Meta(description="Consents that a scan needs, for this brand or for every brand.", examples=[["essential"]]),
    ]
    missing_tiers: Annotated[
        list[ConsentTier] | None,
        Meta(
            description="Those of `consent_tiers` that the caller has not given: send them to `POST "
            "/api/v1/consents`; null unless a person is signed in.",
            examples=[["essential"]],
        ),
    ]
    notice: Annotated[
        ScanNoticeOut | None,
        Meta(description="Notice to show for the consents, in the best language; null if none is in force."),
    ]

    @classmethod
    def of(cls, found: Description) -> "CodeDescriptionOut":
        """Build the response."""
        return cls(
            brand=ScanBrandOut(**found.brand),
            campaign=ScanCampaignOut(**found.campaign),
            status=found.status,
            test_mode=found.test_mode,
            starts_at=found.starts_at,
            ends_at=found.ends_at,
            timezone=found.timezone,
            scan_windows=msgspec.convert(found.scan_windows, list[ScanWindow]),
            opens_at=found.opens_at,
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

        Call this before `POST /api/v1/qr/scan`, to collect the account, the consents and the position that the campaign
        requires. With the access token of a person the answer says what is missing.
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
