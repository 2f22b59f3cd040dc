"""Resources of brands."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, UnsetType

from models.core import emails
from models.core.errors import PreconditionFailed, TooMany
from models.identity import accounts, step_up
from models.identity.accounts import EmailInUse
from models.identity.step_up import RecentAuthenticationRequired
from models.tenants import brands
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import Page, PageQuery, audited, changes, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import Email, Locale, Text200, Timezone

Website = Annotated[
    str,
    msgspec.Meta(
        max_length=300,
        pattern=r"^https://[A-Za-z0-9.-]+(/[!-~]*)?$(?!\n)",
        description="An https URL.",
        examples=["https://brand.example"],
    ),
]
Color = Annotated[
    str, msgspec.Meta(pattern=r"^#[0-9a-f]{6}$(?!\n)", description="Colour in CSS notation.", examples=["#ff8800"])
]


class BrandSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Settings of a brand. A setting that is left out stays as it is; null removes it.

    `locale`: language of the brand's mails. `timezone`: time zone of the brand's calendar.
    """

    locale: Locale | UnsetType | None = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    website: Website | UnsetType | None = UNSET
    support_email: Email | UnsetType | None = UNSET
    color: Color | UnsetType | None = UNSET

    def apply_to(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings with these changes applied."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        if given.get("support_email"):
            given["support_email"] = emails.normalise(given["support_email"], field="settings.support_email")
        return {name: value for name, value in {**settings, **given}.items() if value is not None}


class BrandFilter(PageQuery, kw_only=True):
    """Filter of the list of brands."""

    name: Annotated[Text200, msgspec.Meta(description="Part of the name, in any case.")] | None = None
    status: Annotated[Literal["active", "archived"], msgspec.Meta(description="Live or archived only.")] | None = None


class BrandIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new brand; `admin_email` is invited as its first Brand Admin."""

    name: Text200
    admin_email: Email
    settings: BrandSettings = BrandSettings()


class BrandChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a brand. A field that is left out stays as it is.

    `mfa_required_from`: time from which sessions of members without MFA are refused; null makes MFA optional. Members
    without an authenticator are notified by mail.
    """

    name: Text200 | UnsetType = UNSET
    settings: BrandSettings = BrandSettings()
    mfa_required_from: Instant | UnsetType | None = UNSET


class BrandOut(msgspec.Struct):
    """A brand."""

    id: UUID
    name: str
    settings: dict[str, Any]
    created_at: Instant
    updated_at: Instant
    archived_at: Instant | None
    mfa_required_from: Instant | None

    @classmethod
    def of(cls, brand: brands.Brand) -> "BrandOut":
        """Build the response for a brand."""
        return msgspec.convert(brand, cls, from_attributes=True)


class Brands:
    """`/api/v1/brands`: all brands. For system admins."""

    @endpoint(query=BrandFilter, response=Page[BrandOut], permission="brands:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List brands, newest first."""
        query: BrandFilter = req.context.query
        scope = f"brands:{query.status}:{query.name}"
        key = decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope)
        archived = None if query.status is None else query.status == "archived"
        found = brands.page(query.limit + 1, key, name=query.name, archived=archived)
        resp.media = page_of([BrandOut.of(b) for b in found], query.limit, lambda b: (b.created_at, b.id), scope=scope)

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
        """Create a brand and invite its first Brand Admin."""
        body: BrandIn = req.context.body
        email = emails.normalise(body.admin_email, field="admin_email")
        brand, invitation_id = brands.create(body.name, body.settings.apply_to({}), email)
        invited = {"invitation": invitation_id, "admin_email": accounts.protect("email", email)}
        _, made = changes({}, _content(brand) | invited)
        audited(req, table="brands", record_id=brand.id, brand_id=brand.id, after=made)
        resp.location = f"/api/v1/brands/{brand.id}"
        etag(resp, brand.version)
        resp.media = BrandOut.of(brand)


class Brand:
    """`/api/v1/brands/{brand_id}`: one brand. For its members and system admins."""

    @endpoint(response=BrandOut, permission="brand:read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Read a brand."""
        _respond(resp, brands.get(brand_id))

    @endpoint(
        body=BrandChange,
        response=BrandOut,
        permission="brand:write",
        audit="brand.update",
        problems=(PreconditionFailed, RecentAuthenticationRequired, TooMany),
    )
    def on_patch(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Change a brand. A change of `mfa_required_from` needs recent authentication (step-up)."""
        body: BrandChange = req.context.body
        brand = brands.get_for_update(brand_id)
        require_match(req, brand.version)
        name = brand.name if body.name is UNSET else body.name
        required_from = brand.mfa_required_from
        if body.mfa_required_from is not UNSET:
            required_from = in_utc("mfa_required_from", body.mfa_required_from)
        if required_from != brand.mfa_required_from:
            step_up.require_recent()
        changed = brands.change(brand, name, body.settings.apply_to(brand.settings), required_from)
        before, now = changes(_content(brand), _content(changed))
        audited(req, table="brands", record_id=brand_id, brand_id=brand_id, before=before, after=now)
        _respond(resp, changed)


class BrandArchive:
    """`/api/v1/brands/{brand_id}/archive`: archive or restore a brand."""

    @endpoint(
        operation_id="archiveBrand",
        response=BrandOut,
        permission="brands:write",
        audit="brand.archive",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Archive a brand: end its members' sessions, refuse their sign-ins, and pause its active campaigns."""
        before = brands.get_for_update(brand_id)
        require_match(req, before.version)
        paused = brands.archive(brand_id)
        _respond_archived(req, resp, before, paused_campaigns=paused)

    @endpoint(operation_id="restoreBrand", response=BrandOut, permission="brands:write", audit="brand.restore")
    def on_delete(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Restore an archived brand. Its campaigns stay paused."""
        before = brands.get(brand_id)
        brands.restore(brand_id)
        _respond_archived(req, resp, before)


def _respond_archived(req: Request, resp: Response, before: brands.Brand, **more: Any) -> None:
    brand = brands.get(before.id)
    was, now = {"archived_at": before.archived_at}, {"archived_at": brand.archived_at, **more}
    audited(req, table="brands", record_id=brand.id, brand_id=brand.id, before=was, after=now)
    _respond(resp, brand)


def _respond(resp: Response, brand: brands.Brand) -> None:
    etag(resp, brand.version)
    resp.media = BrandOut.of(brand)


def _content(brand: brands.Brand) -> dict[str, Any]:
    """Return the fields that can be changed, for the audit trail; addresses as keyed hashes."""
    settings = dict(brand.settings)
    if "support_email" in settings:
        settings["support_email"] = accounts.protect("email", settings["support_email"])
    return {"name": brand.name, "mfa_required_from": brand.mfa_required_from, "settings": settings}


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/brands", Brands()),
    ("/api/v1/brands/{brand_id:uuid}", Brand()),
    ("/api/v1/brands/{brand_id:uuid}/archive", BrandArchive()),
]
