"""Consents: what a person agreed to, under which words, and whether it still holds.

`app.grant_consent` and `app.revoke_consent` write; each change leaves its event.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField, IntervalField

from models.core import context
from models.core.database import Row, new_id, now, row, value
from models.core.errors import Conflict, Invalid, NotFound

DEFAULT_KEY = "default"
"""Key of the notices of campaigns that name no other."""

TIERS = ("essential", "analytics", "marketing", "ai_processing")


class UnknownNotice(Invalid):
    """There is no such notice, or it is no longer in force."""

    code = "unknown_notice"


class NoticeNotInForce(Conflict):
    """The notice was shown, but another version is in force; `notice` is that one."""

    code = "notice_not_in_force"


class TierNotInNotice(Invalid):
    """The notice says nothing about the tier."""

    code = "tier_not_in_notice"


class Notice(Row):
    """The words that a consent is given under. A published one never changes; `body_sha256` is of its body in UTF-8."""

    id = peewee.UUIDField(primary_key=True)
    key = peewee.TextField()
    version = peewee.IntegerField()
    locale = peewee.TextField()
    title = peewee.TextField()
    body = peewee.TextField()
    body_sha256 = peewee.TextField()
    tiers = ArrayField(peewee.TextField, index=False)  # type: ignore[no-untyped-call]
    valid_for = IntervalField()
    published_at = DateTimeTZField()
    retired_at = DateTimeTZField(null=True)

    class Meta:
        """Where it lives."""

        table_name = "consent_notices"


class Consent(Row):
    """What a person agreed to. Without `brand_id` it is given for every brand."""

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
        """Where it lives."""

        table_name = "consents"

    @property
    def active(self) -> bool:
        """Whether it is in force."""
        return self.revoked_at is None and self.expires_at > now()


class ConsentEvent(Row):
    """What happened to a consent, when, and under which words: the truth that `consents` follows from."""

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
        """Where it lives."""

        table_name = "consent_events"


def default_notice(locale: str) -> Notice:
    """Return the default notice in this language, or in the nearest one that there is.

    Raises:
        NotFound: no default notice is in force.
    """
    found: Notice | None = Notice.get_or_none(Notice.id == notice_in_force(DEFAULT_KEY, [locale]))
    if found is None:
        raise NotFound
    return found


def notice_in_force(key: str, locales: Sequence[str]) -> UUID | None:
    """Return the id of the key's notice in force, in the first of these languages that it has."""
    found: UUID | None = value("SELECT app.notice_in_force(%s, %s)", (key, list(locales)))
    return found


def require_in_force(notice_id: UUID) -> None:
    """Check that a notice is the one in force for its key and language.

    Raises:
        UnknownNotice: there is no such notice, or its key has none in force.
        NoticeNotInForce: another one is in force.
    """
    asked: Notice | None = Notice.get_or_none(Notice.id == notice_id)
    current = asked and Notice.get_or_none(Notice.id == notice_in_force(asked.key, [asked.locale]))
    if current is None:
        raise UnknownNotice("notice_id", "not a notice in force")
    if current != asked:
        shown = {name: getattr(current, name) for name in ("id", "key", "version", "locale")}
        raise NoticeNotInForce("Show the notice in force and ask again.", notice=shown)


def own(limit: int, after: tuple[datetime, UUID] | None = None) -> list[Consent]:
    """The caller's consents, newest first.

    Args:
        limit: how many at most.
        after: `granted_at` and `id` of the last one that has been seen.
    """
    query = _own().order_by(Consent.granted_at.desc(), Consent.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Consent.granted_at, Consent.id) < after)
    return list(query)


def get(consent_id: UUID) -> Consent:
    """One of the caller's consents.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    found: Consent | None = _own().where(Consent.id == consent_id).get_or_none()
    if found is None:
        raise NotFound
    return found


def _own() -> Any:
    return Consent.select(Consent, Notice).join(Notice).where(Consent.user_id == _caller())


def grant(
    tier: str,
    *,
    brand_id: UUID | None = None,
    notice_id: UUID | None = None,
    locale: str | None = None,
    source: str = "api",
) -> tuple[Consent, bool]:
    """Give a consent; it, and whether it is a new one. One that is in force already stays as it is.

    Args:
        tier: one of `TIERS`.
        brand_id: the brand that it is given to; every one by default.
        notice_id: the notice that was shown, which has to be in force; by default the default one.
        locale: the language of the default notice; by default the caller's.
        source: what it was given through.

    Raises:
        UnknownNotice: there is no such notice, or its key has none in force.
        NoticeNotInForce: another notice of its key and language is in force.
        TierNotInNotice: it says nothing about the tier.
        UnknownBrand: there is no such brand.
    """
    if notice_id is not None:
        require_in_force(notice_id)
    found = row(
        "SELECT id, created FROM app.grant_consent(%s, %s, %s, %s, %s, %s, %s)",
        (new_id(), tier, brand_id, notice_id, locale, source, context.request_info().request_id),
    )
    assert found is not None
    return get(found["id"]), found["created"]


def revoke(consent_id: UUID, source: str = "api") -> bool:
    """Take a consent back, with effect at once; whether it had been in force until now.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    revoked: bool = value(
        "SELECT app.revoke_consent(%s, %s, %s)", (consent_id, source, context.request_info().request_id)
    )
    return revoked


def tiers_in_force() -> list[str]:
    """The tiers that the caller has agreed to for every brand."""
    return sorted(_in_force(), key=TIERS.index)


def set_tiers(tiers: Iterable[str], source: str) -> None:
    """Have exactly these tiers in force for every brand; what was given to single brands stays."""
    wanted, in_force = set(tiers), _in_force()
    for tier in sorted(wanted - in_force.keys()):
        grant(tier, source=source)
    for tier in sorted(in_force.keys() - wanted):
        revoke(in_force[tier], source=source)


def _in_force() -> dict[str, UUID]:
    query = _own().where(Consent.brand_id.is_null(), Consent.revoked_at.is_null())
    return {consent.consent_tier: consent.id for consent in query if consent.active}


def expire(limit: int) -> int:
    """Close up to `limit` consents that have run out; how many. They have counted for nothing since they did."""
    expired: int = value("SELECT app.expire_consents(%s)", (limit,))
    return expired


def _caller() -> UUID | None:
    identity = context.current()
    return identity.user_id if identity else None
