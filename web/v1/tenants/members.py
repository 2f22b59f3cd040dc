"""Members of a brand, and their roles.

A person becomes a member by an invitation. Members read the list of their own brand, system admins that of every
brand.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.context import FAN
from models.core.errors import PreconditionFailed
from models.tenants import members
from models.tenants.invitations import RoleNotGrantable
from models.tenants.members import LastBrandAdmin
from web.http.auditing import revoked_with
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import UserId
from web.http.person_fields import MemberRole, PersonEmail, PersonLocale, PersonName, SuspendedAt


class MemberFilter(PageQuery, kw_only=True):
    """Filter of the list of members."""

    role: Annotated[MemberRole, Meta(description="Only members with this role.", examples=["Creator"])] | None = None


class MemberChange(msgspec.Struct, forbid_unknown_fields=True):
    """New role of a member."""

    role: Annotated[
        MemberRole,
        Meta(
            description="The new role. Callers can grant only roles whose permissions they have.",
            examples=["Campaign Manager"],
        ),
    ]


class MemberOut(msgspec.Struct):
    """A member of a brand."""

    id: UserId
    email: PersonEmail
    name: PersonName
    role: Annotated[MemberRole, Meta(description="Role within the brand.", examples=["Campaign Manager"])]
    locale: PersonLocale
    created_at: Annotated[
        Instant, Meta(description="Time when the account was created, in UTC; it may be older than the membership.")
    ]
    suspended_at: SuspendedAt
    has_mfa: Annotated[
        bool | None,
        Meta(
            description="Whether the member has a confirmed authenticator; null where an external identity provider"
            " signs the member in."
        ),
    ]

    @classmethod
    def of(cls, member: members.Member) -> "MemberOut":
        """Build the response for a member."""
        return msgspec.convert(member, cls, from_attributes=True)


class Members:
    """`/api/v1/brands/{brand_id}/members`: the members of a brand."""

    @endpoint(query=MemberFilter, response=Page[MemberOut], permission="members:read", audit="member.list")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """List the members of a brand, oldest accounts first.

        The list includes suspended members. Open invitations are listed by `GET /api/v1/brands/{brand_id}/invitations`.
        """
        query: MemberFilter = req.context.query
        scope = f"members:{brand_id}:{query.role}"
        found = members.page(brand_id, query.limit + 1, decode_cursor(query.cursor, UUID, scope=scope), query.role)
        audited(req, table="users", brand_id=brand_id, shown=[member.id for member in found[: query.limit]])
        items = [MemberOut.of(member) for member in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)


class Member:
    """`/api/v1/brands/{brand_id}/members/{user_id}`: one member."""

    @endpoint(response=MemberOut, permission="members:read", audit="member.read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Read a member of a brand. Its `ETag` is the role, for `If-Match` of a change."""
        audited(req, table="users", record_id=user_id, brand_id=brand_id)
        _respond(resp, members.get(brand_id, user_id))

    @endpoint(
        body=MemberChange,
        example={"role": "Campaign Manager"},
        response=MemberOut,
        permission="members:write",
        audit="member.change_role",
        problems=(LastBrandAdmin, RoleNotGrantable, PreconditionFailed),
    )
    def on_patch(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Change the role of a member of a brand.

        Access tokens with the old role are refused from the next request on (401 `session_ended`), and a refreshed one
        has the new role. Open invitations that the member may no longer send are revoked, and assignments to campaigns
        end unless the new role is Creator. A brand keeps at least one active Brand Admin.
        """
        before = members.get_for_update(brand_id, user_id)
        require_match(req, before.role)
        changed, revoked = members.change_role(brand_id, user_id, req.context.body.role)
        was, now = {"role": before.role}, {"role": changed.role} | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=was, after=now)
        _respond(resp, changed)

    @endpoint(
        operation_id="removeMember",
        status=204,
        permission="members:write",
        audit="member.remove",
        problems=(LastBrandAdmin,),
    )
    def on_delete(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Remove a member from a brand.

        The member's sessions end, and open invitations that the member sent are revoked. The account stays, with the
        role Fan. API keys that the member created stay valid: revoke them with `DELETE /api/v1/api-keys/{api_key_id}`.
        """
        before = members.get(brand_id, user_id)
        revoked = members.remove(brand_id, user_id)
        was = {"role": before.role, "brand_id": brand_id}
        now = {"role": FAN, "brand_id": None} | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=was, after=now)


def _respond(resp: Response, member: members.Member) -> None:
    etag(resp, member.role)
    resp.media = MemberOut.of(member)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/brands/{brand_id:uuid}/members", Members()),
    ("/api/v1/brands/{brand_id:uuid}/members/{user_id:uuid}", Member()),
]
