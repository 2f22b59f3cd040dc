"""Brands: the tenants."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import timezones
from models.core.database import Row, execute, new_id, now, value
from models.core.errors import NotFound
from models.tenants import invitations, members

BRAND_ADMIN = "Brand Admin"


class Brand(Row):
    """A tenant."""

    id = peewee.UUIDField(primary_key=True)
    name = peewee.TextField()
    settings = peewee.JSONField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    version = peewee.IntegerField()
    archived_at = DateTimeTZField(null=True)
    mfa_required_from = DateTimeTZField(null=True)

    class Meta:
        """Where it lives."""

        table_name = "brands"


def page(
    limit: int, after: tuple[datetime, UUID] | None = None, *, name: str | None = None, archived: bool | None = None
) -> list[Brand]:
    """The brands that the caller may see, newest first.

    Args:
        limit: how many at most.
        after: `created_at` and `id` of the last one that has been seen.
        name: a part of the name, in any case.
        archived: only those that are, or only those that aren't.
    """
    query = Brand.select().order_by(Brand.created_at.desc(), Brand.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Brand.created_at, Brand.id) < after)
    if name is not None:
        query = query.where(peewee.fn.strpos(peewee.fn.lower(Brand.name), name.lower()) > 0)
    if archived is not None:
        query = query.where(Brand.archived_at.is_null(not archived))
    return list(query)


def get(brand_id: UUID) -> Brand:
    """One brand.

    Raises:
        NotFound: there is none, or none that the caller may know of.
    """
    found: Brand | None = Brand.get_or_none(Brand.id == brand_id)
    if found is None:
        raise NotFound
    return found


def lock(brand_id: UUID) -> Brand:
    """The same, and nobody else changes it before this transaction ends.

    Raises:
        NotFound: there is none, or none that the caller may change.
    """
    # Not against rows that refer to it: whoever has locked a session and writes an entry would wait, and be waited for.
    locking: Any = "FOR NO KEY UPDATE"
    found: Brand | None = next(iter(Brand.select().where(Brand.id == brand_id).for_update(locking)), None)
    if found is None:
        raise NotFound
    return found


def create(name: str, settings: dict[str, Any], admin_email: str) -> tuple[Brand, UUID]:
    """Make a brand and invite its first admin; it, and the invitation's id.

    Raises:
        EmailInUse: the address belongs to somebody already.
        Invalid: there is no such time zone.
    """
    _require_sane(settings)
    brand_id = new_id()
    execute(
        "INSERT INTO public.brands (id, name, settings) VALUES (%s, %s, %s)", (brand_id, name, json.dumps(settings))
    )
    return get(brand_id), invitations.invite(brand_id, admin_email, BRAND_ADMIN)


def change(brand: Brand, name: str, settings: dict[str, Any], mfa_required_from: datetime | None) -> Brand:
    """Change a brand that the caller has locked. Whoever of its people will need a second factor is told by mail.

    Args:
        brand: as it was.
        name: what it is called.
        settings: all of them.
        mfa_required_from: from when on sessions of its members are refused that have not shown a second factor.

    Raises:
        Invalid: there is no such time zone.
        TooMany: its people have been told of other days too often.
    """
    _require_sane(settings)
    if mfa_required_from not in (None, brand.mfa_required_from):
        members.announce_second_factor(brand.id)
    said = {"name": name, "settings": settings, "mfa_required_from": mfa_required_from}
    changes = {**said, "updated_at": now(), "version": Brand.version + 1}
    changed: Brand = next(iter(Brand.update(**changes).where(Brand.id == brand.id).returning(Brand).execute()))
    return changed


def _require_sane(settings: dict[str, Any]) -> None:
    if "timezone" in settings:
        timezones.require(settings["timezone"], field="settings.timezone")


def archive(brand_id: UUID) -> list[UUID]:
    """Archive a brand: its people's sessions end, nobody signs in for it any more, and its live campaigns are paused.

    Returns:
        The campaigns that were live.

    Raises:
        NotFound: there is no such brand.
    """
    paused: list[UUID] = value("SELECT app.archive_brand(%s)", (brand_id,))
    return paused


def hold() -> bool:
    """Whether the caller's brand is live, which it then stays until this transaction ends: archiving waits for it.

    To be asked before campaigns are locked, as archiving locks the brand first and then its campaigns.
    """
    live: bool = value("SELECT app.brand_is_live_for_share()")
    return live


def restore(brand_id: UUID) -> None:
    """Take it back. Its campaigns stay paused until somebody resumes them.

    Raises:
        NotFound: there is no such brand.
    """
    execute("SELECT app.restore_brand(%s)", (brand_id,))
