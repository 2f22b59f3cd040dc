"""The caller's own account: name, language, time zone, phone number and consents for every brand."""

from typing import Annotated

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.consents.consents import ConsentTier
from models.consents.notices import UnknownNotice
from models.core.errors import PreconditionFailed
from models.identity import accounts
from web.http.endpoint import audited, endpoint, etag, require_match
from web.http.fields import CreatedAt, Locale, Phone, Text200, Tiers, Timezone, UserId
from web.http.person_fields import (
    IsAnonymous,
    MemberBrandId,
    PersonEmail,
    PersonLocale,
    PersonName,
    PersonPhone,
    PersonRole,
    PersonTimezone,
)


class ProfileChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a profile. A field that is left out stays as it is."""

    name: Annotated[
        Text200 | UnsetType | None, Meta(description="Name of the person; null removes it.", examples=["Ana García"])
    ] = UNSET
    locale: Annotated[
        Locale | UnsetType,
        Meta(description="Language of the person's mails and pages, a language tag (BCP 47).", examples=["es-MX"]),
    ] = UNSET
    timezone: Annotated[
        Timezone | UnsetType,
        Meta(description="Time zone of times in the person's mails, a name of the IANA database."),
    ] = UNSET
    phone: Annotated[
        Phone | UnsetType | None,
        Meta(description="Phone number in international form (E.164); null removes it.", examples=["+34600000000"]),
    ] = UNSET
    consent_tiers: Annotated[
        Tiers | UnsetType,
        Meta(
            description="All consents for every brand that are to be in force: missing ones are granted under the"
            " default notice, others are withdrawn. Consents for single brands stay.",
            examples=[["essential", "analytics"]],
        ),
    ] = UNSET


class ProfileOut(msgspec.Struct):
    """The profile of the caller."""

    id: UserId
    email: PersonEmail
    name: PersonName
    locale: PersonLocale
    timezone: PersonTimezone
    phone: PersonPhone
    role: PersonRole
    brand_id: MemberBrandId
    is_anonymous: IsAnonymous
    consent_tiers: Annotated[
        list[ConsentTier],
        Meta(
            description="Consents for every brand that are in force. `GET /api/v1/consents` also lists those for single"
            " brands.",
            examples=[["essential", "analytics"]],
        ),
    ]
    created_at: CreatedAt

    @classmethod
    def of(cls, profile: accounts.Profile) -> "ProfileOut":
        """Build the response from a profile."""
        return msgspec.convert(profile, cls, from_attributes=True)


class Me:
    """`/api/v1/users/me`: the caller's profile."""

    @endpoint(operation_id="getProfile", response=ProfileOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the caller's profile: account, role, brand and consents for every brand."""
        profile = accounts.own_profile()
        etag(resp, _version(profile))
        resp.media = ProfileOut.of(profile)

    @endpoint(
        operation_id="updateProfile",
        body=ProfileChange,
        example={
            "name": "Ana García",
            "locale": "es-MX",
            "timezone": "America/Mexico_City",
            "phone": "+525512345678",
            "consent_tiers": ["essential", "analytics"],
        },
        response=ProfileOut,
        permission="authenticated",
        audit="account.update",
        problems=(PreconditionFailed, UnknownNotice),
    )
    def on_patch(self, req: Request, resp: Response) -> None:
        """Change the caller's profile and the consents for every brand.

        The address is changed with `POST /api/v1/users/me/email`, the password with `POST /api/v1/users/me/password`,
        a consent for one brand with `POST /api/v1/consents`.
        """
        changes = {
            name: value for name, value in msgspec.structs.asdict(req.context.body).items() if value is not UNSET
        }
        before = accounts.get_own_profile_for_update()
        require_match(req, _version(before))
        after = accounts.update_own_profile(before, changes)
        was, now = before.protected(), after.protected()
        changed = [field for field in was if was[field] != now[field]]
        audited(
            req,
            table="users",
            record_id=after.id,
            before={field: was[field] for field in changed},
            after={field: now[field] for field in changed},
        )
        etag(resp, _version(after))
        resp.media = ProfileOut.of(after)


def _version(profile: accounts.Profile) -> str:
    return f"{profile.updated_at.isoformat()};{','.join(profile.consent_tiers)}"


ROUTES: list[tuple[str, object]] = [("/api/v1/users/me", Me())]
