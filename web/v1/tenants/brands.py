"""Brands: the tenants."""

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
from web.http.endpoint import Page, PageQuery, after, audited, changes, endpoint, etag, page_of, require_match
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
Color = Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-f]{6}$(?!\n)", description="As in CSS.", examples=["#ff8800"])]


class BrandSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What a brand can set; what is left out stays as it is, and null takes it away.

    `locale` is the language of its mails, `timezone` what its calendar goes by.
    """

    locale: Locale | UnsetType | None = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    website: Website | UnsetType | None = UNSET
    support_email: Email | UnsetType | None = UNSET
    color: Color | UnsetType | None = UNSET

    def over(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with these in place of what they were."""
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        if said.get("support_email"):
            said["support_email"] = emails.normalise(said["support_email"], field="settings.support_email")
        return {name: value for name, value in {**settings, **said}.items() if value is not None}


class BrandFilter(PageQuery, kw_only=True):
    """Which brands to list."""

    name: Annotated[Text200, msgspec.Meta(description="A part of the name.")] | None = None
    status: Annotated[Literal["active", "archived"], msgspec.Meta(description="Whether archived.")] | None = None


class BrandIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A brand, and who is invited to be its first admin."""

    name: Text200
    admin_email: Email
    settings: BrandSettings = BrandSettings()


class BrandChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a brand; what is left out stays.

    `mfa_required_from`: from then on its members have to have a second factor, and their sessions may do nothing before
    it is enrolled and shown; null: they may have one. Whoever has none is told by mail.
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
        """A brand as its members and system admins see it."""
        return msgspec.convert(brand, cls, from_attributes=True)


class Brands:
    """`/api/v1/brands`: all brands, for system admins."""

    @endpoint(query=BrandFilter, response=Page[BrandOut], permission="brands:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List brands, newest first."""
        asked: BrandFilter = req.context.query
        scope = f"brands:{asked.status}:{asked.name}"
        key = after(asked.cursor, tuple[datetime, UUID], scope=scope)
        archived = None if asked.status is None else asked.status == "archived"
        found = brands.page(asked.limit + 1, key, name=asked.name, archived=archived)
        resp.media = page_of([BrandOut.of(b) for b in found], asked.limit, lambda b: (b.created_at, b.id), scope=scope)

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
        """Make a brand, and send its first admin an invitation."""
        asked: BrandIn = req.context.body
        email = emails.normalise(asked.admin_email, field="admin_email")
        brand, invitation_id = brands.create(asked.name, asked.settings.over({}), email)
        invited = {"invitation": invitation_id, "admin_email": accounts.protect("email", email)}
        _, made = changes({}, _content(brand) | invited)
        audited(req, table="brands", record_id=brand.id, brand_id=brand.id, after=made)
        resp.location = f"/api/v1/brands/{brand.id}"
        etag(resp, brand.version)
        resp.media = BrandOut.of(brand)


class Brand:
    """`/api/v1/brands/{brand_id}`: a brand, for its members and system admins."""

    @endpoint(response=BrandOut, permission="brand:read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Read a brand."""
        _answer(resp, brands.get(brand_id))

    @endpoint(
        body=BrandChange,
        response=BrandOut,
        permission="brand:write",
        audit="brand.update",
        problems=(PreconditionFailed, RecentAuthenticationRequired, TooMany),
    )
    def on_patch(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Change a brand. Whether its members need a second factor takes recent authentication."""
        asked: BrandChange = req.context.body
        brand = brands.get_for_update(brand_id)
        require_match(req, brand.version)
        name = brand.name if asked.name is UNSET else asked.name
        required_from = brand.mfa_required_from
        if asked.mfa_required_from is not UNSET:
            required_from = in_utc("mfa_required_from", asked.mfa_required_from)
        if required_from != brand.mfa_required_from:
            step_up.require_recent()
        changed = brands.change(brand, name, asked.settings.over(brand.settings), required_from)
        before, now = changes(_content(brand), _content(changed))
        audited(req, table="brands", record_id=brand_id, brand_id=brand_id, before=before, after=now)
        _answer(resp, changed)


class BrandArchive:
    """`/api/v1/brands/{brand_id}/archive`: whether a brand is archived."""

    @endpoint(response=BrandOut, permission="brands:write", audit="brand.archive", problems=(PreconditionFailed,))
    def on_put(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Archive a brand. Its people's sessions end, nobody signs in for it, and its live campaigns are paused."""
        before = brands.get_for_update(brand_id)
        require_match(req, before.version)
        paused = brands.archive(brand_id)
        _answer_archived(req, resp, before, paused_campaigns=paused)

    @endpoint(response=BrandOut, permission="brands:write", audit="brand.restore")
    def on_delete(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Take a brand out of the archive. Its campaigns stay paused."""
        before = brands.get(brand_id)
        brands.restore(brand_id)
        _answer_archived(req, resp, before)


def _answer_archived(req: Request, resp: Response, before: brands.Brand, **with_it: Any) -> None:
    brand = brands.get(before.id)
    was, now = {"archived_at": before.archived_at}, {"archived_at": brand.archived_at, **with_it}
    audited(req, table="brands", record_id=brand.id, brand_id=brand.id, before=was, after=now)
    _answer(resp, brand)


def _answer(resp: Response, brand: brands.Brand) -> None:
    etag(resp, brand.version)
    resp.media = BrandOut.of(brand)


def _content(brand: brands.Brand) -> dict[str, Any]:
    """What can be changed of it; addresses protected."""
    settings = dict(brand.settings)
    if "support_email" in settings:
        settings["support_email"] = accounts.protect("email", settings["support_email"])
    return {"name": brand.name, "mfa_required_from": brand.mfa_required_from, "settings": settings}


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/brands", Brands()),
    ("/api/v1/brands/{brand_id:uuid}", Brand()),
    ("/api/v1/brands/{brand_id:uuid}/archive", BrandArchive()),
]
