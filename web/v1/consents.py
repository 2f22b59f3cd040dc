"""Consents: what the caller has agreed to, by tier, and the text of the notice.

A campaign names the tiers that its scans need. Show the notice of the refusal `consent_required`, then record the
agreement with the notice's id; the same scan counts afterwards. A revocation takes effect at once.
"""

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.consents import consents, notices
from models.consents.consents import ConsentTier, TierNotInNotice
from models.consents.notices import NoticeNotInForce, UnknownNotice
from models.core.errors import NotFound
from models.identity.users import UnknownBrand
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of
from web.http.fields import (
    Id,
    Locale,
    NoticeBody,
    NoticeId,
    NoticeLocale,
    NoticeTiers,
    NoticeTitle,
    NoticeVersion,
)

_LIST = "consents"


TierField = Annotated[ConsentTier, Meta(description="Purpose that the consent allows.", examples=["analytics"])]


class NoticeQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Language of the notice."""

    locale: Annotated[
        Locale,
        Meta(
            description="Language of the notice, a language tag (BCP 47). Without a notice in this language: in "
            "English. Default: `en`.",
            examples=["es"],
        ),
    ] = "en"


class NoticeOut(msgspec.Struct):
    """A version of a consent notice in one language. A published notice never changes."""

    id: NoticeId
    version: NoticeVersion
    locale: NoticeLocale
    title: NoticeTitle
    body: NoticeBody
    sha256: Annotated[
        str,
        Meta(
            description="SHA-256 of `body` in UTF-8, hexadecimal: proves which text a person has seen.",
            examples=["2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"],
        ),
    ]
    tiers: NoticeTiers

    @classmethod
    def of(cls, notice: notices.Notice) -> "NoticeOut":
        """Build the response for a notice."""
        return cls(
            notice.id, notice.version, notice.locale, notice.title, notice.body, notice.body_sha256, notice.tiers
        )


class ConsentIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A consent to give."""

    tier: TierField
    brand_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the brand that the consent is for, as in the description of a code. Default: null, "
            "for every brand."
        ),
    ] = None
    notice_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the notice that the person has seen; it must be in force and contain the tier. Default: "
            "null, the default notice."
        ),
    ] = None
    locale: Annotated[
        Locale | None,
        Meta(
            description="Language in which the default notice was shown; read only without `notice_id`. Default: "
            "null, the language of the profile.",
            examples=["es"],
        ),
    ] = None


class ConsentOut(msgspec.Struct):
    """A consent of the caller."""

    id: Id
    tier: TierField
    brand_id: Annotated[
        UUID | None, Meta(description="Id of the brand that the consent is for; null: for every brand.")
    ]
    active: Annotated[
        bool, Meta(description="Whether the consent is in force now: neither withdrawn nor expired.", examples=[True])
    ]
    granted_at: Annotated[Instant, Meta(description="Time at which the person gave the consent, in UTC.")]
    expires_at: Annotated[
        Instant,
        Meta(description="Time from which the consent has no effect, in UTC. The person is then asked again."),
    ]
    revoked_at: Annotated[
        Instant | None, Meta(description="Time of the withdrawal or of the closing after expiry, in UTC; null before.")
    ]
    source: Annotated[
        str,
        Meta(
            description="Where the person gave it: `api` (this endpoint, also for the page of a code), `signup` or "
            "`profile`.",
            examples=["api"],
        ),
    ]
    notice: Annotated[NoticeOut, Meta(description="Notice that the person has seen.")]

    @classmethod
    def of(cls, consent: consents.Consent) -> "ConsentOut":
        """Build the response for a consent."""
        return cls(
            id=consent.id,
            tier=cast(ConsentTier, consent.consent_tier),
            brand_id=consent.brand_id,
            active=consent.active,
            granted_at=consent.granted_at,
            expires_at=consent.expires_at,
            revoked_at=consent.revoked_at,
            source=consent.source,
            notice=NoticeOut.of(consent.notice),
        )


class Consents:
    """`/api/v1/consents`: the caller's consents."""

    @endpoint(query=PageQuery, response=Page[ConsentOut], permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's consents, newest first.

        The list includes consents that were withdrawn or have expired (`active` is false).
        """
        query: PageQuery = req.context.query
        found = consents.own(query.limit + 1, decode_cursor(query.cursor, tuple[datetime, UUID], scope=_LIST))
        items = [ConsentOut.of(consent) for consent in found]
        resp.media = page_of(items, query.limit, lambda c: (c.granted_at, c.id), scope=_LIST)

    @endpoint(
        operation_id="giveConsent",
        body=ConsentIn,
        response=ConsentOut,
        status=201,
        other_responses={200: ConsentOut},
        permission="authenticated",
        audit="consent.grant",
        idempotent=True,
        problems=(NoticeNotInForce, TierNotInNotice, UnknownBrand, UnknownNotice),
        example={
            "tier": "analytics",
            "brand_id": "01941f29-7c00-7b10-9c4e-6a1d0e8f2b35",
            "notice_id": "0197a000-0000-7000-8000-000000000001",
        },
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Give a consent. A consent in force for the same tier and brand stays as it is (200).

        Before a scan, `GET /api/v1/qr/codes/{token}` names the missing tiers and the notice to show: give one consent
        for each tier, with the `id` of that notice as `notice_id`. If another version is in force meanwhile, the answer
        is `notice_not_in_force` with that `notice`: show it and ask again. Anonymous fans give consents, too.
        """
        body: ConsentIn = req.context.body
        consent, created = consents.grant(
            body.tier, brand_id=body.brand_id, notice_id=body.notice_id, locale=body.locale
        )
        audited(req, table="consents", record_id=consent.id, after={**_content(consent), "new": created})
        if not created:
            resp.status = 200
        resp.location = f"/api/v1/consents/{consent.id}"
        resp.media = ConsentOut.of(consent)


class Consent:
    """`/api/v1/consents/{consent_id}`: one of the caller's consents."""

    @endpoint(response=ConsentOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response, consent_id: UUID) -> None:
        """Read one of the caller's consents, with the notice that was shown."""
        resp.media = ConsentOut.of(consents.get(consent_id))

    @endpoint(operation_id="withdrawConsent", status=204, permission="authenticated", audit="consent.revoke")
    def on_delete(self, req: Request, resp: Response, consent_id: UUID) -> None:
        """Withdraw a consent with immediate effect.

        Without another consent of the tier in force, scans of campaigns that need it are refused with
        `consent_required`. Earlier scans stay. A consent that is withdrawn or closed already stays as it is.
        """
        consent = consents.get(consent_id)
        changed = consents.revoke(consent_id)
        audited(req, table="consents", record_id=consent_id, before=_content(consent), after={"changed": changed})


def _content(consent: consents.Consent) -> dict[str, Any]:
    return {"tier": consent.consent_tier, "brand_id": consent.brand_id, "notice": consent.notice.id}


class DefaultNotice:
    """`/api/v1/consent-notices/default`: the notice of campaigns that name no other."""

    @endpoint(query=NoticeQuery, response=NoticeOut, permission="public", problems=(NotFound,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the default notice in the version in force.

        It applies at sign-up, and for campaigns whose `notice_key` is `default`. For the notice of a code, call
        `GET /api/v1/qr/codes/{token}`.
        """
        notice = notices.default(req.context.query.locale)
        etag(resp, notice.body_sha256)
        resp.set_header("Cache-Control", "public, max-age=60")
        resp.media = NoticeOut.of(notice)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/consents", Consents()),
    ("/api/v1/consents/{consent_id:uuid}", Consent()),
    ("/api/v1/consent-notices/default", DefaultNotice()),
]
