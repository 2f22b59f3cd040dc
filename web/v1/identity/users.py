"""Users: everybody's accounts, for system admins."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import PreconditionFailed
from models.identity import accounts, mfa, permissions, users
from models.identity.mfa import NotEnrolled
from models.identity.users import AnonymousAccount, BrandByRole, OwnAccount, UnknownBrand
from models.tenants.invitations import RoleNotGrantable
from models.tenants.members import LastBrandAdmin
from web.http.auditing import revoked_with
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, after, audited, endpoint, etag, page_of, require_match
from web.http.fields import Text200

Role = Literal["Brand Admin", "Campaign Manager", "Creator", "Fan", "System Admin"]


class UserFilter(PageQuery, kw_only=True):
    """Which accounts to list."""

    email: Annotated[Text200, msgspec.Meta(description="How the address begins.")] | None = None
    role: Annotated[Role, msgspec.Meta(description="What their people are.")] | None = None
    brand_id: UUID | None = None
    status: Annotated[Literal["open", "locked"], msgspec.Meta(description="Whether they are locked.")] | None = None


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody is to be. Members need a brand, and fans have none."""

    role: Literal["Brand Admin", "Campaign Manager", "Creator", "Fan"]
    brand_id: UUID | None = None


class ReasonIn(msgspec.Struct, forbid_unknown_fields=True):
    """Why it is done."""

    reason: Text200


class LockIn(ReasonIn, forbid_unknown_fields=True):
    """Reason of a lock, and whether it revokes the API keys that the person created."""

    revoke_api_keys: Annotated[
        bool,
        msgspec.Meta(
            description="Whether the API keys that this person created are revoked. They outlive the person's role and"
            " lock otherwise."
        ),
    ] = False


class UserOut(msgspec.Struct, kw_only=True):
    """An account."""

    id: UUID
    email: str | None
    name: str | None
    role: str
    brand_id: UUID | None
    locale: str
    timezone: str
    phone: str | None
    is_anonymous: bool
    identity_provider: str | None
    email_verified_at: Instant | None
    locked_at: Instant | None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, user: accounts.User) -> "UserOut":
        """An account as system admins see it."""
        fields = {name: getattr(user, name) for name in cls.__struct_fields__ if name != "role"}
        return cls(**fields, role=permissions.role_of(user.role_id))


class Users:
    """`/api/v1/users`: everybody's accounts."""

    @endpoint(query=UserFilter, response=Page[UserOut], permission="users:read", audit="user.search")
    def on_get(self, req: Request, resp: Response) -> None:
        """List accounts, newest first."""
        asked: UserFilter = req.context.query
        scope = f"users:{asked.role}:{asked.brand_id}:{asked.status}:{asked.email}"
        found = users.page(
            asked.limit + 1,
            after(asked.cursor, tuple[datetime, UUID], scope=scope),
            email=asked.email,
            role=asked.role,
            brand_id=asked.brand_id,
            locked=None if asked.status is None else asked.status == "locked",
        )
        audited(req, table="users", after=_asked(asked), shown=[user.id for user in found[: asked.limit]])
        items = [UserOut.of(user) for user in found]
        resp.media = page_of(items, asked.limit, lambda item: (item.created_at, item.id), scope=scope)


def _asked(query: UserFilter) -> dict[str, Any]:
    said = {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}
    said.pop("cursor", None)
    return {name: accounts.protect(name, value) for name, value in said.items()}


class User:
    """`/api/v1/users/{user_id}`: one of them."""

    @endpoint(response=UserOut, permission="users:read", audit="user.read")
    def on_get(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Read an account."""
        user = users.get(user_id)
        audited(req, table="users", record_id=user_id)
        _answer(resp, user)

    @endpoint(
        body=RoleChange,
        response=UserOut,
        permission="users:write",
        audit="user.change_role",
        problems=(AnonymousAccount, BrandByRole, LastBrandAdmin, PreconditionFailed, RoleNotGrantable, UnknownBrand),
    )
    def on_patch(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Change an account's role. It bites with the next request; system admins are not made or unmade here."""
        asked: RoleChange = req.context.body
        before = users.hold(user_id, asked.brand_id)
        require_match(req, before.updated_at)
        changed, revoked = users.change_role(user_id, asked.role, asked.brand_id)
        brand_id = changed.brand_id or before.brand_id
        now = _place(changed) | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=_place(before), after=now)
        _answer(resp, changed)


class UserLock:
    """`/api/v1/users/{user_id}/lock`: whether an account is locked."""

    @endpoint(
        body=LockIn,
        response=UserOut,
        permission="users:write",
        audit="user.lock",
        problems=(OwnAccount, PreconditionFailed),
    )
    def on_put(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Lock an account. Its sessions end at once, sign-ins are refused, and its open invitations are revoked."""
        asked: LockIn = req.context.body
        before = users.get(user_id)
        require_match(req, before.updated_at)
        revoked = users.lock(user_id, revoke_api_keys=asked.revoke_api_keys)
        _answer_locked(req, resp, before, revoked_with(**revoked), asked.reason)

    @endpoint(response=UserOut, permission="users:write", audit="user.unlock", problems=(OwnAccount,))
    def on_delete(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Unlock an account."""
        before = users.get(user_id)
        users.unlock(user_id)
        _answer_locked(req, resp, before, {})


class UserMfa:
    """`/api/v1/users/{user_id}/mfa/reset`: the second factor of somebody who has lost it."""

    @endpoint(
        own_sign_in=True,
        body=ReasonIn,
        status=204,
        permission="users:write",
        audit="user.reset_mfa",
        recent=True,
        problems=(NotEnrolled, OwnAccount),
    )
    def on_post(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Take somebody's authenticator and recovery codes away. Be sure who asks: they are told, and signed out.

        Whoever has to have an authenticator enrols another when they sign in.
        """
        user = users.get(user_id)
        mfa.reset(user_id)
        audited(req, table="users", record_id=user_id, brand_id=user.brand_id, reason=req.context.body.reason)


def _place(user: accounts.User) -> dict[str, Any]:
    return {"role": permissions.role_of(user.role_id), "brand_id": user.brand_id}


def _answer_locked(
    req: Request, resp: Response, before: accounts.User, revoked: dict[str, Any], reason: str | None = None
) -> None:
    user = users.get(before.id)
    was, now = {"locked_at": before.locked_at}, {"locked_at": user.locked_at} | revoked
    audited(req, table="users", record_id=user.id, brand_id=user.brand_id, before=was, after=now, reason=reason)
    _answer(resp, user)


def _answer(resp: Response, user: accounts.User) -> None:
    etag(resp, user.updated_at)
    resp.media = UserOut.of(user)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/users", Users()),
    ("/api/v1/users/{user_id:uuid}", User()),
    ("/api/v1/users/{user_id:uuid}/lock", UserLock()),
    ("/api/v1/users/{user_id:uuid}/mfa/reset", UserMfa()),
]
