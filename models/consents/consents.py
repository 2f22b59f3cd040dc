"""Consents: list, give and withdraw. `app.grant_consent` and `app.revoke_consent` write, and add an event each time."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.consents import notices
from models.consents.notices import Notice
from models.core import context
from models.core.database import Row, new_id, row, value
from models.core.enumerations import enumeration, values_of
from models.core.errors import Invalid, NotFound

ConsentTier = Annotated[
    Literal["essential", "analytics", "marketing", "ai_processing"],
    enumeration(
        "ConsentTier",
        "Purpose that a consent allows. `essential`: process scans and prevent fraud. `analytics`: measure "
        "activations. `marketing`: contact the person. `ai_processing`: analyse the person's texts by an AI service.",
    ),
]
"""SQL owns the list (a CHECK constraint); a test compares the two."""

TIERS: tuple[ConsentTier, ...] = values_of(ConsentTier)


class TierNotInNotice(Invalid):
    """The notice does not name the tier."""

    code = "tier_not_in_notice"


class Consent(Row):
    """A consent of a person. `brand_id` is None for a consent for every brand."""

    id = peewee.UUIDField(primary_key=True)
    user_id = peewee.UUIDField()
    consent_tier = peewee.TextField()
    granted_at = DateTimeTZField()
    revoked_at = DateTimeTZField(null=True)
    brand_id = peewee.UUIDField(null=True)
    notice = peewee.ForeignKeyField(Notice, column_name="notice_id")
    locale = peewee.TextField()
    source = peewee.TextField()
    expires_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "consents"

    active: bool
    """Whether the consent is in force; selected by each query of this module."""


_ACTIVE = peewee.Function("app.consent_is_in_force", (Consent.revoked_at, Consent.expires_at))


class ConsentEvent(Row):
    """A change of a consent (`grant`, `withdraw`, `expire`), with its time and the hash of its notice."""

    id = peewee.UUIDField(primary_key=True)
    consent_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    brand_id = peewee.UUIDField(null=True)
    action = peewee.TextField()
    consent_tier = peewee.TextField()
    notice_id = peewee.UUIDField()
    notice_sha256 = peewee.TextField()
    locale = peewee.TextField()
    source = peewee.TextField()
    request_id = peewee.TextField(null=True)
    expires_at = DateTimeTZField()
    at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "consent_events"


def own(limit: int, after: tuple[datetime, UUID] | None = None) -> list[Consent]:
    """Return the caller's consents, newest first, also those that are no longer in force.

    Args:
        limit: maximum number of consents.
        after: `granted_at` and `id` of the last consent of the previous page.
    """
    query = _own().order_by(Consent.granted_at.desc(), Consent.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Consent.granted_at, Consent.id) < after)
    return list(query)


def get(consent_id: UUID) -> Consent:
    """Return one of the caller's consents.

    Raises:
        NotFound: the caller has no such consent.
    """
    found: Consent | None = _own().where(Consent.id == consent_id).get_or_none()
    if found is None:
        raise NotFound
    return found


def _own() -> Any:
    return Consent.select(Consent, Notice, _ACTIVE.alias("active")).join(Notice).where(Consent.user_id == _caller())


def grant(
    tier: str,
    *,
    brand_id: UUID | None = None,
    notice_id: UUID | None = None,
    locale: str | None = None,
    source: str = "api",
) -> tuple[Consent, bool]:
    """Give a consent for the caller. A consent in force stays as it is.

    Args:
        tier: one of `TIERS`.
        brand_id: the brand; None for every brand.
        notice_id: the notice that was shown, which must be in force; None for the default notice.
        locale: language of the default notice; None for the caller's language.
        source: where the consent was given, e.g. `api` or `profile`.

    Returns:
        The consent, and whether it was created.

    Raises:
        UnknownNotice: there is no such notice, or no notice of its key is in force.
        NoticeNotInForce: another notice of its key and language is in force.
        TierNotInNotice: the notice does not name the tier.
        UnknownBrand: there is no such brand.
    """
    if notice_id is not None:
        notices.require_in_force(notice_id)
    found = row(
        "SELECT id, created FROM app.grant_consent(%s, %s, %s, %s, %s, %s, %s)",
        (new_id(), tier, brand_id, notice_id, locale, source, context.request_info().request_id),
    )
    assert found is not None
    return get(found["id"]), found["created"]


def revoke(consent_id: UUID, source: str = "api") -> bool:
    """Withdraw a consent with immediate effect. Return False if it was withdrawn or closed already.

    Raises:
        NotFound: the caller has no such consent.
    """
    revoked: bool = value(
        "SELECT app.revoke_consent(%s, %s, %s)", (consent_id, source, context.request_info().request_id)
    )
    return revoked


def tiers_in_force() -> list[str]:
    """Return the tiers that the caller has consented to for every brand, in the order of `TIERS`."""
    return sorted(_in_force(), key=list[str](TIERS).index)


def set_tiers(tiers: Iterable[str], source: str) -> None:
    """Grant and withdraw consents for every brand, so that exactly these tiers are in force.

    Consents for single brands stay as they are.
    """
    wanted, in_force = set(tiers), _in_force()
    for tier in sorted(wanted - in_force.keys()):
        grant(tier, source=source)
    for tier in sorted(in_force.keys() - wanted):
        revoke(in_force[tier], source=source)


def _in_force() -> dict[str, UUID]:
    query = _own().where(Consent.brand_id.is_null(), _ACTIVE)
    return {consent.consent_tier: consent.id for consent in query}


def expire(limit: int) -> int:
    """Close up to `limit` expired consents and return how many. They have had no effect since their expiry."""
    expired: int = value("SELECT app.expire_consents(%s)", (limit,))
    return expired


def _caller() -> UUID | None:
    identity = context.current()
    return identity.user_id if identity else None
