"""Brands: create, read, change, archive and restore."""

from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import timezones
from models.core.database import Row, new_id, now, value
from models.core.errors import Conflict, NotFound
from models.jobs.ledger import enqueue
from models.tenants import invitations, members

BRAND_ADMIN = "Brand Admin"


class BrandArchived(Conflict):
    """The brand is archived."""

    code = "brand_archived"


class Brand(Row):
    """A brand: the tenant that members, campaigns and contacts belong to."""

    id = peewee.UUIDField(primary_key=True)
    name = peewee.TextField()
    settings = peewee.JSONField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    version = peewee.IntegerField()
    archived_at = DateTimeTZField(null=True)
    mfa_required_from = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "brands"


def page(
    limit: int, after: tuple[datetime, UUID] | None = None, *, name: str | None = None, archived: bool | None = None
) -> list[Brand]:
    """Return brands that the caller may see, newest first.

    Args:
        limit: maximum number of brands.
        after: `created_at` and `id` of the last brand of the previous page.
        name: part of the name, in any case.
        archived: true for archived brands only, false for live ones only.
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
    """Return a brand.

    Raises:
        NotFound: there is no such brand, or the caller may not see it.
    """
    return _first(Brand.select().where(Brand.id == brand_id))


def get_for_update(brand_id: UUID) -> Brand:
    """Lock a brand's row until the transaction ends and return it.

    Raises:
        NotFound: there is no such brand, or the caller may not change it.
    """
    # NO KEY UPDATE doesn't block inserts of rows that refer to the brand. FOR UPDATE would deadlock with a request that
    # has locked a session and then writes an audit entry of the brand.
    locking: Any = "FOR NO KEY UPDATE"
    return _first(Brand.select().where(Brand.id == brand_id).for_update(locking))


def _first(query: Any) -> Brand:
    found: Brand | None = next(iter(query), None)
    if found is None:
        raise NotFound
    return found


def create(name: str, settings: dict[str, Any], admin_email: str) -> tuple[Brand, UUID]:
    """Create a brand and invite its first Brand Admin.

    Returns:
        The brand, and the id of the invitation.

    Raises:
        EmailInUse: the address belongs to an account that is no fan's.
        Invalid: the time zone does not exist.
    """
    _require_valid(settings)
    brand = _first(Brand.insert(id=new_id(), name=name, settings=settings).returning(Brand).execute())
    return brand, invitations.invite(brand.id, admin_email, BRAND_ADMIN)


def change(brand: Brand, name: str, settings: dict[str, Any], mfa_required_from: datetime | None) -> Brand:
    """Change a brand that `get_for_update` has locked.

    A new `mfa_required_from` notifies members without MFA. A new time zone moves the activity of contacts to its days.

    Args:
        brand: the brand before the change.
        name: the name.
        settings: all settings.
        mfa_required_from: the time from which sessions of members without MFA are refused.

    Raises:
        Invalid: the time zone does not exist.
        TooMany: members have been notified of other times too often today.
    """
    _require_valid(settings)
    if mfa_required_from not in (None, brand.mfa_required_from):
        members.announce_mfa(brand.id)
    values = {"name": name, "settings": settings, "mfa_required_from": mfa_required_from}
    changes = {**values, "updated_at": now(), "version": Brand.version + 1}
    if settings.get("timezone", "UTC") != brand.settings.get("timezone", "UTC"):
        enqueue("activity.recompute", unique="while_waiting", brand_id=brand.id, subject=("brand", brand.id))
    return _first(Brand.update(**changes).where(Brand.id == brand.id).returning(Brand).execute())


def _require_valid(settings: dict[str, Any]) -> None:
    if "timezone" in settings:
        timezones.require(settings["timezone"], field="settings.timezone")


def archive(brand_id: UUID) -> list[UUID]:
    """Archive a brand: end its members' sessions, refuse their sign-ins, and pause its active campaigns.

    Returns:
        Ids of the campaigns that were paused.

    Raises:
        NotFound: there is no such brand.
    """
    paused: list[UUID] = value("SELECT app.archive_brand(%s)", (brand_id,))
    if paused:
        enqueue("campaigns.announce", paused, "pause", brand_id=brand_id, subject=("brand", brand_id))
    return paused


def is_live_for_share() -> bool:
    """Lock the caller's brand FOR SHARE and return whether it is live. Archiving waits for the end of the transaction.

    Call it before a campaign is locked: archiving locks the brand first and then its campaigns.
    """
    live: bool = value("SELECT app.brand_is_live_for_share()")
    return live


def restore(brand_id: UUID) -> list[UUID]:
    """Restore an archived brand, and resume the campaigns that its archiving paused, except those that have ended.

    Returns:
        Ids of the campaigns that were resumed.

    Raises:
        NotFound: there is no such brand.
    """
    resumed: list[UUID] = value("SELECT app.restore_brand(%s)", (brand_id,))
    if resumed:
        enqueue("campaigns.announce", resumed, "resume", brand_id=brand_id, subject=("brand", brand_id))
    return resumed
