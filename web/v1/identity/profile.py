"""`/api/v1/users/me`: the caller's profile."""

from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, UnsetType

from models.consents.consents import ConsentTier
from models.core.errors import PreconditionFailed
from models.identity import accounts
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint, etag, require_match
from web.http.fields import Locale, Phone, Text200, Tiers, Timezone


class ProfileIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a profile. Omitted fields stay as they are. `consent_tiers` are all tiers that are to be in force."""

    name: Text200 | UnsetType | None = UNSET
    locale: Locale | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    consent_tiers: Tiers | UnsetType = UNSET


class ProfileOut(msgspec.Struct):
    """The profile of the caller; `consent_tiers` are in force for all brands."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    timezone: str
    phone: str | None
    role: str
    brand_id: UUID | None
    is_anonymous: bool
    consent_tiers: list[ConsentTier]
    created_at: Instant

    @classmethod
    def of(cls, profile: accounts.Profile) -> "ProfileOut":
        """Build the response from a profile."""
        return msgspec.convert(profile, cls, from_attributes=True)


class Me:
    """`/api/v1/users/me`: the caller's profile."""

    @endpoint(operation_id="getProfile", response=ProfileOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the caller's profile."""
        profile = accounts.own_profile()
        etag(resp, _version(profile))
        resp.media = ProfileOut.of(profile)

    @endpoint(
        operation_id="updateProfile",
        body=ProfileIn,
        response=ProfileOut,
        permission="authenticated",
        audit="account.update",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response) -> None:
        """Change the caller's profile and the consents that are in force for all brands."""
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
