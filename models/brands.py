"""Brands: the tenants, and how their people are invited."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models import context
from models.accounts import EmailInUse
from models.db import Row, execute, new_id, row, value
from models.errors import NotFound
from models.jobs import enqueue

INVITATION_LIFETIME = timedelta(days=7)
BRAND_ADMIN = "Brand Admin"


class Brand(Row):
    """A tenant."""

    id = peewee.UUIDField(primary_key=True)
    name = peewee.TextField()
    settings = peewee.JSONField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    version = peewee.IntegerField()

    class Meta:
        """Where it lives."""

        table_name = "brands"


def page(limit: int, after: tuple[datetime, UUID] | None = None) -> list[Brand]:
    """The brands that the caller may see, newest first.

    Args:
        limit: how many at most.
        after: `created_at` and `id` of the last one that has been seen.
    """
    query = Brand.select().order_by(Brand.created_at.desc(), Brand.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Brand.created_at, Brand.id) < after)
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


def create(name: str, settings: dict[str, Any], admin_email: str) -> tuple[Brand, UUID]:
    """Make a brand and invite its first admin; it, and the invitation's id.

    Raises:
        EmailInUse: the address belongs to somebody already.
    """
    brand_id = new_id()
    execute(
        "INSERT INTO public.brands (id, name, settings) VALUES (%s, %s, %s)", (brand_id, name, json.dumps(settings))
    )
    return get(brand_id), invite(brand_id, admin_email, BRAND_ADMIN)


def invite(brand_id: UUID, email: str, role: str) -> UUID:
    """Invite somebody into a brand and have the mail sent; the invitation's id.

    Args:
        brand_id: the brand.
        email: where the invitation goes, normalised.
        role: `Brand Admin`, `Campaign Manager` or `Creator`.

    Raises:
        EmailInUse: the address belongs to somebody already.
    """
    if value("SELECT true FROM public.users WHERE email = %s", (email,)):
        raise EmailInUse
    identity = context.current()
    invitation_id = new_id()
    execute(
        "INSERT INTO app.invitations (id, brand_id, email, role_id, invited_by, expires_at)"
        " VALUES (%s, %s, %s, (SELECT id FROM public.roles WHERE name = %s), %s, now() + %s)",
        (invitation_id, brand_id, email, role, identity and identity.user_id, INVITATION_LIFETIME),
    )
    enqueue("mail.invitation", invitation_id, brand_id=brand_id)
    return invitation_id


def invitation_mail(invitation_id: UUID) -> dict[str, Any] | None:
    """What the mail with an invitation needs: `email`, `brand`, and `locale`, which the brand's settings may name.

    None if the invitation has been used or is too old by now.
    """
    return row(
        "SELECT i.email, coalesce(b.settings ->> 'locale', 'en') AS locale, b.name AS brand"
        " FROM app.invitations i JOIN public.brands b ON b.id = i.brand_id"
        " WHERE i.id = %s AND i.used_at IS NULL AND i.expires_at > now()",
        (invitation_id,),
    )
