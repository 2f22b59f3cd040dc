"""Resources of the caller's consents, and of the default notice."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.consents import consents, notices
from models.consents.consents import Tier, TierNotInNotice
from models.consents.notices import NoticeNotInForce, UnknownNotice
from models.core.errors import NotFound
from models.identity.users import UnknownBrand
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of
from web.http.fields import Locale

_LIST = "consents"


class NoticeQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Language of the notice; English if the notice is not available in it."""

    locale: Locale = "en"


class NoticeOut(msgspec.Struct):
    """A version of a notice; it never changes. `sha256`: SHA-256 of the body in UTF-8."""

    id: UUID
    version: int
    locale: str
    title: str
    body: str
    sha256: str
    tiers: list[str]

    @classmethod
    def of(cls, notice: notices.Notice) -> "NoticeOut":
        """Build the response for a notice."""
        return cls(
            notice.id, notice.version, notice.locale, notice.title, notice.body, notice.body_sha256, notice.tiers
        )


class ConsentIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A consent to give. Without `brand_id`: for every brand. Without `notice_id`: under the default notice."""

    tier: Tier
    brand_id: UUID | None = None
    notice_id: UUID | None = None
    locale: Locale | None = None


class ConsentOut(msgspec.Struct):
    """A consent. `active`: neither withdrawn nor expired."""

    id: UUID
    tier: str
    brand_id: UUID | None
    active: bool
    granted_at: Instant
    expires_at: Instant
    revoked_at: Instant | None
    source: str
    notice: NoticeOut

    @classmethod
    def of(cls, consent: consents.Consent) -> "ConsentOut":
        """Build the response for a consent."""
        return cls(
            id=consent.id,
            tier=consent.consent_tier,
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
        """List the caller's consents, newest first, also those that are no longer in force."""
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
        problems=(NoticeNotInForce, TierNotInNotice, UnknownBrand, UnknownNotice),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Give a consent. A consent in force stays as it is (200)."""
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
        """Read one of the caller's consents."""
        resp.media = ConsentOut.of(consents.get(consent_id))

    @endpoint(operation_id="withdrawConsent", status=204, permission="authenticated", audit="consent.revoke")
    def on_delete(self, req: Request, resp: Response, consent_id: UUID) -> None:
        """Withdraw a consent with immediate effect. A withdrawn consent stays as it is."""
        consent = consents.get(consent_id)
        changed = consents.revoke(consent_id)
        audited(req, table="consents", record_id=consent_id, before=_content(consent), after={"changed": changed})


def _content(consent: consents.Consent) -> dict[str, Any]:
    return {"tier": consent.consent_tier, "brand_id": consent.brand_id, "notice": consent.notice.id}


class DefaultNotice:
    """`/api/v1/consent-notices/default`: the notice of campaigns that name no other."""

    @endpoint(query=NoticeQuery, response=NoticeOut, permission="public", problems=(NotFound,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the default notice in the version in force. It applies unless a campaign names another notice."""
        notice = notices.default(req.context.query.locale)
        etag(resp, notice.body_sha256)
        resp.set_header("Cache-Control", "public, max-age=60")
        resp.media = NoticeOut.of(notice)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/consents", Consents()),
    ("/api/v1/consents/{consent_id:uuid}", Consent()),
    ("/api/v1/consent-notices/default", DefaultNotice()),
]
