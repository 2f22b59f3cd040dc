"""Brands: the tenants."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models import accounts, brands, emails
from models.accounts import EmailInUse
from web.endpoint import Page, PageQuery, after, audited, endpoint, etag, page_of
from web.v1.fields import Email, Text200

_LIST = "brands"


class BrandIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A brand, and who is invited to be its first admin."""

    name: Text200
    admin_email: Email
    settings: dict[str, Any] = {}


class BrandOut(msgspec.Struct):
    """A brand."""

    id: UUID
    name: str
    settings: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, brand: brands.Brand) -> "BrandOut":
        """A brand as its members and system admins see it."""
        return cls(brand.id, brand.name, brand.settings, brand.created_at, brand.updated_at)


class Brands:
    """`/api/v1/brands`: all brands, for system admins."""

    @endpoint(query=PageQuery, response=Page[BrandOut], permission="brands:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List them, newest first."""
        asked: PageQuery = req.context.query
        found = brands.page(asked.limit + 1, after(asked.cursor, tuple[datetime, UUID], scope=_LIST))
        resp.media = page_of([BrandOut.of(b) for b in found], asked.limit, lambda b: (b.created_at, b.id), scope=_LIST)

    @endpoint(
        body=BrandIn,
        response=BrandOut,
        status=201,
        permission="brands:write",
        audit="brand.create",
        idempotent=True,
        problems=(EmailInUse,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Make one, and send its first admin an invitation."""
        asked: BrandIn = req.context.body
        email = emails.normalise(asked.admin_email, field="admin_email")
        brand, invitation_id = brands.create(asked.name, asked.settings, email)
        invited = {"invitation": invitation_id, "admin_email": accounts.protect("email", email)}
        audited(req, table="brands", record_id=brand.id, brand_id=brand.id, after={"name": brand.name, **invited})
        resp.location = f"/api/v1/brands/{brand.id}"
        etag(resp, brand.version)
        resp.media = BrandOut.of(brand)


class Brand:
    """`/api/v1/brands/{brand_id}`: a brand, for its members and system admins."""

    @endpoint(response=BrandOut, permission="brand:read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Read it."""
        brand = brands.get(brand_id)
        etag(resp, brand.version)
        resp.media = BrandOut.of(brand)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/brands", Brands()),
    ("/api/v1/brands/{brand_id:uuid}", Brand()),
]
