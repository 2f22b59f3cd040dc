"""Accounts of all people, for system admins: search, change roles, suspend, help after the loss of an authenticator."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.enumerations import enumeration
from models.core.errors import PreconditionFailed
from models.identity import accounts, mfa, permissions, users
from models.identity.mfa import NotEnrolled
from models.identity.users import AnonymousAccount, BrandByRole, OwnAccount, UnknownBrand
from models.tenants.invitations import RoleNotGrantable
from models.tenants.members import LastBrandAdmin
from web.http.auditing import revoked_with
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import BrandId, CreatedAt, Text200, UpdatedAt, UserId
from web.http.person_fields import (
    AssignableRole,
    IsAnonymous,
    MemberBrandId,
    PersonEmail,
    PersonLocale,
    PersonName,
    PersonPhone,
    PersonRole,
    PersonTimezone,
    Role,
    SuspendedAt,
)

AccountStatus = Annotated[
    Literal["active", "suspended"],
    enumeration("AccountStatus", "`active`: the account is not suspended. `suspended`: a system admin suspended it."),
]


class UserFilter(PageQuery, kw_only=True):
    """Filter of the list of accounts. Several conditions are combined with "and"."""

    email: (
        Annotated[Text200, Meta(description="Beginning of the address, in upper or lower case.", examples=["ana@"])]
        | None
    ) = None
    role: Annotated[Role, Meta(description="Only accounts with this role.", examples=["Creator"])] | None = None
    brand_id: Annotated[BrandId, Meta(description="Only members of this brand.")] | None = None
    status: (
        Annotated[AccountStatus, Meta(description="Only accounts with this status.", examples=["active"])] | None
    ) = None


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    """New role of an account."""

    role: Annotated[
        AssignableRole,
        Meta(description="The new role. `System Admin` is granted on the server only.", examples=["Campaign Manager"]),
    ]
    brand_id: Annotated[
        UUID | None,
        Meta(
            description="The brand of a member. Required with the roles of members; null or left out with `Fan`.",
            examples=["01941f29-7c00-7b10-9c4e-6a1d0e8f2b35"],
        ),
    ] = None


Reason = Annotated[
    Text200,
    Meta(
        description="Why this is done: one line for the audit trail. The person does not see it.",
        examples=["Asked by the brand, ticket 4711"],
    ),
]


class ReasonIn(msgspec.Struct, forbid_unknown_fields=True):
    """Reason of an administrative act."""

    reason: Reason


class SuspensionIn(ReasonIn, forbid_unknown_fields=True):
    """Reason of a suspension, and whether it includes API keys."""

    revoke_api_keys: Annotated[
        bool,
        Meta(
            description="Whether to revoke the API keys that this person created. They outlive the person's role and"
            " suspension otherwise. Default: false."
        ),
    ] = False


class UserOut(msgspec.Struct, kw_only=True):
    """An account."""

    id: UserId
    email: PersonEmail
    name: PersonName
    role: PersonRole
    brand_id: MemberBrandId
    locale: PersonLocale
    timezone: PersonTimezone
    phone: PersonPhone
    is_anonymous: IsAnonymous
    identity_provider: Annotated[
        str | None,
        Meta(
            description="The external identity provider that signs the person in; null for accounts of this API.",
            examples=["supabase"],
        ),
    ]
    email_verified_at: Annotated[
        Instant | None, Meta(description="Time when the person proved to read mail to the address; null if never.")
    ]
    suspended_at: SuspendedAt
    created_at: CreatedAt
    updated_at: UpdatedAt

    @classmethod
    def of(cls, user: users.User) -> "UserOut":
        """Build the response from a row of `users`."""
        fields = {name: getattr(user, name) for name in cls.__struct_fields__ if name != "role"}
        return cls(**fields, role=permissions.role_of(user.role_id))


class Users:
    """`/api/v1/users`: accounts of all users."""

    @endpoint(query=UserFilter, response=Page[UserOut], permission="users:read", audit="user.search")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the accounts of all brands and fans, newest first.

        For support by system admins. The audit trail records the conditions and the accounts shown.
        """
        asked: UserFilter = req.context.query
        scope = f"users:{asked.role}:{asked.brand_id}:{asked.status}:{asked.email}"
        found = users.page(
            asked.limit + 1,
            decode_cursor(asked.cursor, tuple[datetime, UUID], scope=scope),
            email=asked.email,
            role=asked.role,
            brand_id=asked.brand_id,
            suspended=None if asked.status is None else asked.status == "suspended",
        )
        audited(req, table="users", after=_asked(asked), shown=[user.id for user in found[: asked.limit]])
        items = [UserOut.of(user) for user in found]
        resp.media = page_of(items, asked.limit, lambda item: (item.created_at, item.id), scope=scope)


def _asked(query: UserFilter) -> dict[str, Any]:
    given = {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}
    given.pop("cursor", None)
    return {name: accounts.protect(name, value) for name, value in given.items()}


class User:
    """`/api/v1/users/{user_id}`: one account."""

    @endpoint(response=UserOut, permission="users:read", audit="user.read")
    def on_get(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Read an account of any brand, or a fan's. For system admins."""
        user = users.get(user_id)
        audited(req, table="users", record_id=user_id)
        _answer(resp, user)

    @endpoint(
        body=RoleChange,
        example={"role": "Campaign Manager", "brand_id": "01941f29-7c00-7b10-9c4e-6a1d0e8f2b35"},
        response=UserOut,
        permission="users:write",
        audit="user.change_role",
        problems=(AnonymousAccount, BrandByRole, LastBrandAdmin, PreconditionFailed, RoleNotGrantable, UnknownBrand),
    )
    def on_patch(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Change the role and the brand of an account.

        Access tokens with the old role are refused from the next request on (401 `session_ended`), and a refreshed one
        has the new role. Open invitations that the person may no longer send are revoked. Brand Admins change roles
        within their brand with `PATCH /api/v1/brands/{brand_id}/members/{user_id}`.
        """
        asked: RoleChange = req.context.body
        before = users.get_for_update(user_id, asked.brand_id)
        require_match(req, before.updated_at)
        changed, revoked = users.change_role(user_id, asked.role, asked.brand_id)
        brand_id = changed.brand_id or before.brand_id
        now = _membership(changed) | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=_membership(before), after=now)
        _answer(resp, changed)


class UserSuspension:
    """`/api/v1/users/{user_id}/suspension`: suspend or reinstate an account."""

    @endpoint(
        operation_id="suspendUser",
        body=SuspensionIn,
        example={"reason": "Asked by the brand, ticket 4711", "revoke_api_keys": True},
        response=UserOut,
        permission="users:write",
        audit="user.suspend",
        problems=(OwnAccount, PreconditionFailed),
    )
    def on_put(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Suspend an account.

        Its sessions end, sign-ins are refused, and open invitations that the person sent are revoked. `DELETE` on the
        same path reinstates it. A suspended account stays as it is.
        """
        asked: SuspensionIn = req.context.body
        before = users.get(user_id)
        require_match(req, before.updated_at)
        revoked = users.suspend(user_id, revoke_api_keys=asked.revoke_api_keys)
        _answer_changed(req, resp, before, revoked_with(**revoked), asked.reason)

    @endpoint(
        operation_id="reinstateUser",
        response=UserOut,
        permission="users:write",
        audit="user.reinstate",
        problems=(OwnAccount,),
    )
    def on_delete(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Reinstate a suspended account.

        The person can sign in again, also after too many wrong passwords or codes: the counters of attempts restart.
        Revoked invitations and API keys stay revoked.
        """
        before = users.get(user_id)
        users.reinstate(user_id)
        _answer_changed(req, resp, before, {})


class UserMfa:
    """`/api/v1/users/{user_id}/mfa/reset`: remove the authenticator that a person has lost."""

    @endpoint(
        operation_id="resetUserMfa",
        own_sign_in=True,
        body=ReasonIn,
        example={"reason": "Lost phone; identity verified by video call, ticket 4712"},
        status=204,
        permission="users:write",
        audit="user.reset_mfa",
        idempotent=True,
        recent=True,
        problems=(NotEnrolled, OwnAccount),
    )
    def on_post(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Remove the authenticator and recovery codes of a person who has lost both.

        Verify the person's identity by other means before this request. The account's sessions end, and the person is
        notified by mail. If the role or the brand requires an authenticator, the person enrols another one at the next
        sign-in.
        """
        user = users.get(user_id)
        mfa.reset(user_id)
        audited(req, table="users", record_id=user_id, brand_id=user.brand_id, reason=req.context.body.reason)


def _membership(user: users.User) -> dict[str, Any]:
    return {"role": permissions.role_of(user.role_id), "brand_id": user.brand_id}


def _answer_changed(
    req: Request, resp: Response, before: users.User, revoked: dict[str, Any], reason: str | None = None
) -> None:
    user = users.get(before.id)
    was, now = {"suspended_at": before.suspended_at}, {"suspended_at": user.suspended_at} | revoked
    audited(req, table="users", record_id=user.id, brand_id=user.brand_id, before=was, after=now, reason=reason)
    _answer(resp, user)


def _answer(resp: Response, user: users.User) -> None:
    etag(resp, user.updated_at)
    resp.media = UserOut.of(user)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/users", Users()),
    ("/api/v1/users/{user_id:uuid}", User()),
    ("/api/v1/users/{user_id:uuid}/suspension", UserSuspension()),
    ("/api/v1/users/{user_id:uuid}/mfa/reset", UserMfa()),
]
