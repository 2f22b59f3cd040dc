"""Brands: the tenants that members, campaigns and contacts belong to.

System admins create, archive and restore brands. Brand Admins change the name, the settings and the MFA rule of their
own.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.core.enumerations import enumeration
from models.core.errors import PreconditionFailed, TooMany
from models.core.messages import REASON, Message
from models.identity import accounts, step_up
from models.identity.accounts import EmailInUse
from models.identity.step_up import RecentAuthenticationRequired
from models.tenants import brands
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import Page, PageQuery, audited, changes, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import BrandId, CreatedAt, Email, EmailText, Locale, Text200, Timezone, UpdatedAt, UriText

Website = Annotated[
    UriText,
    Meta(
        max_length=300,
        pattern=r"^https://[A-Za-z0-9.-]+(/[!-~]*)?$(?!\n)",
        description="An https URL.",
        examples=["https://brand.example"],
        extra={REASON: Message("must be an https URL, such as https://brand.example")},
    ),
]
Color = Annotated[
    str,
    Meta(
        pattern=r"^#[0-9a-f]{6}$(?!\n)",
        description="Colour in CSS notation.",
        examples=["#ff8800"],
        extra={REASON: Message("must be # and 6 hexadecimal digits in lower case, such as #ff8800")},
    ),
]


BrandName = Annotated[
    Text200, Meta(description="Name of the brand, as fans and members see it.", examples=["Café Aurora"])
]


class BrandSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Settings of a brand. A setting that is left out stays as it is; null removes it."""

    locale: Annotated[
        Locale | UnsetType | None,
        Meta(
            description="Language of invitations to people without an account, a language tag (BCP 47); English if"
            " null.",
            examples=["es-MX"],
        ),
    ] = UNSET
    timezone: Annotated[
        Timezone | UnsetType | None,
        Meta(description="Time zone of the brand's calendar, a name of the IANA database; UTC if null."),
    ] = UNSET
    website: Annotated[
        Website | UnsetType | None, Meta(description="Address of the brand's website, an https URL.")
    ] = UNSET
    support_email: Annotated[
        Email | UnsetType | None,
        Meta(description="Address where fans get help from the brand.", examples=["help@brand.example"]),
    ] = UNSET
    color: Annotated[
        Color | UnsetType | None, Meta(description="Main colour of the brand: `#` and six hexadecimal digits.")
    ] = UNSET

    def apply_to(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings with these changes applied."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        return {name: value for name, value in {**settings, **given}.items() if value is not None}


class BrandSettingsOut(msgspec.Struct, kw_only=True):
    """Settings of a brand. A setting is null if it was never set or was removed."""

    locale: Annotated[
        str | None,
        Meta(
            description="Language of invitations to people without an account, a language tag (BCP 47); English if"
            " null.",
            examples=["es-MX"],
        ),
    ]
    timezone: Annotated[
        str | None,
        Meta(description="Time zone of the brand's calendar; UTC if null.", examples=["America/Mexico_City"]),
    ]
    website: Annotated[
        UriText | None,
        Meta(description="Address of the brand's website, an https URL.", examples=["https://brand.example"]),
    ]
    support_email: Annotated[
        EmailText | None,
        Meta(description="Address where fans get help from the brand.", examples=["help@brand.example"]),
    ]
    color: Annotated[
        str | None,
        Meta(description="Main colour of the brand: `#` and six hexadecimal digits.", examples=["#ff8800"]),
    ]


BrandStatus = Annotated[
    Literal["active", "archived"],
    enumeration("BrandStatus", "`active`: the brand is not archived. `archived`: its members can't sign in."),
]


class BrandFilter(PageQuery, kw_only=True):
    """Filter of the list of brands. Both conditions are combined with "and"."""

    name: (
        Annotated[Text200, Meta(description="Part of the name, in upper or lower case.", examples=["aurora"])] | None
    ) = None
    status: Annotated[BrandStatus, Meta(description="Only brands with this status.", examples=["active"])] | None = None


class BrandIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new brand, and the address of its first Brand Admin."""

    name: BrandName
    admin_email: Annotated[
        Email,
        Meta(
            description="Address of the first Brand Admin, who is invited by mail. It belongs to no account, or to a"
            " fan's.",
            examples=["boss@aurora.example"],
        ),
    ]
    settings: Annotated[BrandSettings, Meta(description="Settings to set. Default: none; every setting is null.")] = (
        BrandSettings()
    )


class BrandChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a brand. A field that is left out stays as it is."""

    name: Annotated[BrandName | UnsetType, Meta(description="Name of the brand, as fans and members see it.")] = UNSET
    settings: Annotated[BrandSettings, Meta(description="Settings to change. Default: none.")] = BrandSettings()
    mfa_required_from: Annotated[
        Instant | UnsetType | None,
        Meta(
            description="Time from which sessions of members without MFA are refused; null makes MFA optional. A new"
            " time is mailed to all members without an authenticator.",
            examples=["2026-12-31T00:00:00Z"],
        ),
    ] = UNSET


class BrandOut(msgspec.Struct):
    """A brand: the tenant that members, campaigns and contacts belong to."""

    id: BrandId
    name: BrandName
    settings: Annotated[BrandSettingsOut, Meta(description="All settings; null where none was set.")]
    created_at: CreatedAt
    updated_at: UpdatedAt
    archived_at: Annotated[
        Instant | None, Meta(description="Time when the brand was archived, in UTC; null if it is active.")
    ]
    mfa_required_from: Annotated[
        Instant | None,
        Meta(description="Time from which sessions of members without MFA are refused; null if MFA is optional."),
    ]

    @classmethod
    def of(cls, brand: brands.Brand) -> "BrandOut":
        """Build the response for a brand."""
        settings = BrandSettingsOut(**{name: brand.settings.get(name) for name in BrandSettingsOut.__struct_fields__})
        return cls(
            id=brand.id,
            name=brand.name,
            settings=settings,
            created_at=brand.created_at,
            updated_at=brand.updated_at,
            archived_at=brand.archived_at,
            mfa_required_from=brand.mfa_required_from,
        )


class Brands:
    """`/api/v1/brands`: all brands. For system admins."""

    @endpoint(query=BrandFilter, response=Page[BrandOut], permission="brands:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the brands of the platform, newest first. Members read their own brand by its id."""
        query: BrandFilter = req.context.query
        scope = f"brands:{query.status}:{query.name}"
        key = decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope)
        archived = None if query.status is None else query.status == "archived"
        found = brands.page(query.limit + 1, key, name=query.name, archived=archived)
        resp.media = page_of([BrandOut.of(b) for b in found], query.limit, lambda b: (b.created_at, b.id), scope=scope)

    @endpoint(
        body=BrandIn,
        example={
            "name": "Café Aurora",
            "admin_email": "boss@aurora.example",
            "settings": {
                "locale": "es-MX",
                "timezone": "America/Mexico_City",
                "website": "https://aurora.example",
                "support_email": "help@aurora.example",
                "color": "#ff8800",
            },
        },
        response=BrandOut,
        status=201,
        permission="brands:write",
        audit="brand.create",
        idempotent=True,
        problems=(EmailInUse,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a brand and invite its first Brand Admin.

        The address gets a mail with a link that is valid for a week. The Brand Admin accepts it, then invites the other
        members with `POST /api/v1/brands/{brand_id}/invitations`.
        """
        body: BrandIn = req.context.body
        brand, invitation_id = brands.create(body.name, body.settings.apply_to({}), body.admin_email)
        invited = {"invitation": invitation_id, "admin_email": accounts.protect("email", body.admin_email)}
        _, made = changes({}, _content(brand) | invited)
        audited(req, table="brands", record_id=brand.id, brand_id=brand.id, after=made)
        resp.location = f"/api/v1/brands/{brand.id}"
        etag(resp, brand.version)
        resp.media = BrandOut.of(brand)


class Brand:
    """`/api/v1/brands/{brand_id}`: one brand. For its members and system admins."""

    @endpoint(response=BrandOut, permission="brand:read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Read a brand with its settings. Members read their own brand, system admins every one."""
        _respond(resp, brands.get(brand_id))

    @endpoint(
        body=BrandChange,
        example={
            "name": "Café Aurora",
            "settings": {
                "locale": "es-MX",
                "timezone": "America/Mexico_City",
                "website": "https://aurora.example",
                "support_email": "help@aurora.example",
                "color": "#ff8800",
            },
            "mfa_required_from": "2027-01-31T00:00:00Z",
        },
        response=BrandOut,
        permission="brand:write",
        audit="brand.update",
        problems=(PreconditionFailed, RecentAuthenticationRequired, TooMany),
    )
    def on_patch(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Change the name, the settings or the MFA rule of a brand.

        A change of `mfa_required_from` needs step-up within the last ten minutes. A new time is mailed to all members
        without an authenticator, at most five times a day.
        """
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
        """Archive a brand.

        The sessions of its members end, their sign-ins and API keys are refused, and its active campaigns are paused.
        Nothing is deleted. `DELETE` on the same path restores the brand. An archived brand stays as it is.
        """
        before = brands.get_for_update(brand_id)
        require_match(req, before.version)
        paused = brands.archive(brand_id)
        _respond_archived(req, resp, before, paused_campaigns=paused)

    @endpoint(operation_id="restoreBrand", response=BrandOut, permission="brands:write", audit="brand.restore")
    def on_delete(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Restore an archived brand.

        Its members can sign in again, and its API keys are valid again. The campaigns that archiving paused are active
        again, with their codes. Those that a member had paused stay paused, and those whose `ends_at` has passed
        are completed.
        """
        before = brands.get(brand_id)
        resumed = brands.restore(brand_id)
        _respond_archived(req, resp, before, resumed_campaigns=resumed)


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
