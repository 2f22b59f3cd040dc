"""Members of a brand and invitations into it: for its admins, and for system admins in every brand."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core import emails
from models.core.context import FAN
from models.core.errors import PreconditionFailed
from models.identity import accounts, permissions
from models.identity.accounts import EmailInUse
from models.identity.permissions import MemberRole
from models.tenants import brands, invitations, members
from models.tenants.brands import BrandArchived
from models.tenants.invitations import (
    AlreadyInvited,
    AlreadyMember,
    InvitationClosed,
    RoleNotGrantable,
    SentJustNow,
    TooManyInvitations,
)
from models.tenants.members import LastBrandAdmin
from web.http.auditing import revoked_with
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, after, audited, endpoint, etag, page_of, require_match
from web.http.fields import Email


class MemberFilter(PageQuery, kw_only=True):
    """Which members to list."""

    role: Annotated[MemberRole, msgspec.Meta(description="What they are.")] | None = None


class MemberChange(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody is to be."""

    role: MemberRole


class MemberOut(msgspec.Struct):
    """Somebody who works for a brand. Where people sign in elsewhere, they may have no address here, and whether they
    have a second factor isn't known.
    """

    id: UUID
    email: str | None
    name: str | None
    role: str
    locale: str
    created_at: Instant
    suspended_at: Instant | None
    has_second_factor: bool | None

    @classmethod
    def of(cls, member: members.Member) -> "MemberOut":
        """A member as colleagues see them."""
        return msgspec.convert(member, cls, from_attributes=True)


class InvitationIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who is invited, and to be what."""

    email: Email
    role: MemberRole


class InvitationOut(msgspec.Struct):
    """An invitation. Its link is only in the mail."""

    id: UUID
    email: str
    role: str
    status: str
    invited_by: UUID | None
    created_at: Instant
    sent_at: Instant
    expires_at: Instant

    @classmethod
    def of(cls, invitation: invitations.Invitation) -> "InvitationOut":
        """An invitation as the members of the brand see it."""
        return cls(
            invitation.id,
            invitation.email,
            permissions.role_of(invitation.role_id),
            invitation.status,
            invitation.invited_by,
            invitation.created_at,
            invitation.sent_at,
            invitation.expires_at,
        )


class Members:
    """`/api/v1/brands/{brand_id}/members`: who works for a brand."""

    @endpoint(query=MemberFilter, response=Page[MemberOut], permission="members:read", audit="member.list")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """List a brand's members, the oldest accounts first."""
        asked: MemberFilter = req.context.query
        scope = f"members:{brand_id}:{asked.role}"
        found = members.page(brand_id, asked.limit + 1, after(asked.cursor, UUID, scope=scope), asked.role)
        audited(req, table="users", brand_id=brand_id, shown=[one.id for one in found[: asked.limit]])
        resp.media = page_of([MemberOut.of(one) for one in found], asked.limit, lambda item: item.id, scope=scope)


class Member:
    """`/api/v1/brands/{brand_id}/members/{user_id}`: one of them."""

    @endpoint(response=MemberOut, permission="members:read", audit="member.read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Read a member of a brand."""
        audited(req, table="users", record_id=user_id, brand_id=brand_id)
        _answer(resp, members.get(brand_id, user_id))

    @endpoint(
        body=MemberChange,
        response=MemberOut,
        permission="members:write",
        audit="member.change_role",
        problems=(LastBrandAdmin, RoleNotGrantable, PreconditionFailed),
    )
    def on_patch(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Give a member another role. It bites with their next request: tokens with the old role are refused."""
        before = members.get_for_update(brand_id, user_id)
        require_match(req, before.role)
        changed, revoked = members.change_role(brand_id, user_id, req.context.body.role)
        was, now = {"role": before.role}, {"role": changed.role} | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=was, after=now)
        _answer(resp, changed)

    @endpoint(status=204, permission="members:write", audit="member.remove", problems=(LastBrandAdmin,))
    def on_delete(self, req: Request, resp: Response, brand_id: UUID, user_id: UUID) -> None:
        """Take a member out of a brand. Their sessions end at once; the account stays, as that of a fan."""
        before = members.get(brand_id, user_id)
        revoked = members.remove(brand_id, user_id)
        was = {"role": before.role, "brand_id": brand_id}
        now = {"role": FAN, "brand_id": None} | revoked_with(invitations=revoked)
        audited(req, table="users", record_id=user_id, brand_id=brand_id, before=was, after=now)


def _answer(resp: Response, member: members.Member) -> None:
    etag(resp, member.role)
    resp.media = MemberOut.of(member)


class Invitations:
    """`/api/v1/brands/{brand_id}/invitations`: who has been invited into a brand."""

    @endpoint(query=PageQuery, response=Page[InvitationOut], permission="members:read", audit="invitation.list")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """List a brand's invitations, newest first."""
        asked: PageQuery = req.context.query
        scope = f"invitations:{brands.get(brand_id).id}"
        found = invitations.page(brand_id, asked.limit + 1, after(asked.cursor, UUID, scope=scope))
        items = [InvitationOut.of(invitation) for invitation in found]
        audited(req, table="invitations", brand_id=brand_id, shown=[item.id for item in items[: asked.limit]])
        resp.media = page_of(items, asked.limit, lambda item: item.id, scope=scope)

    @endpoint(
        body=InvitationIn,
        response=InvitationOut,
        status=201,
        permission="members:write",
        audit="invitation.create",
        idempotent=True,
        problems=(AlreadyInvited, AlreadyMember, BrandArchived, EmailInUse, RoleNotGrantable, TooManyInvitations),
    )
    def on_post(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Invite somebody. A link that is good for a week goes to the address, whether it has an account or not."""
        asked: InvitationIn = req.context.body
        email = emails.normalise(asked.email)
        invitation = invitations.get(brand_id, invitations.invite(brand_id, email, asked.role))
        invited = {"email": accounts.protect("email", email), "role": asked.role}
        audited(req, table="invitations", record_id=invitation.id, brand_id=brand_id, after=invited)
        resp.location = f"/api/v1/brands/{brand_id}/invitations/{invitation.id}"
        resp.media = InvitationOut.of(invitation)


class Invitation:
    """`/api/v1/brands/{brand_id}/invitations/{invitation_id}`: one of them."""

    @endpoint(response=InvitationOut, permission="members:read", audit="invitation.read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Read an invitation."""
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id)
        resp.media = InvitationOut.of(invitations.get(brand_id, invitation_id))

    @endpoint(status=204, permission="members:write", audit="invitation.revoke", problems=(InvitationClosed,))
    def on_delete(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Revoke an invitation. Its link is good for nothing from then on."""
        invitation = invitations.get(brand_id, invitation_id)
        invitations.revoke(brand_id, invitation_id)
        was = {"email": accounts.protect("email", invitation.email), "role": permissions.role_of(invitation.role_id)}
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id, before=was)


class InvitationResend:
    """`/api/v1/brands/{brand_id}/invitations/{invitation_id}/resend`: its mail, once more."""

    @endpoint(
        response=InvitationOut,
        permission="members:write",
        audit="invitation.resend",
        problems=(BrandArchived, InvitationClosed, SentJustNow),
    )
    def on_post(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Send an invitation again. It is good for another week; once a minute at most."""
        invitations.renew(brand_id, invitation_id)
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id)
        resp.media = InvitationOut.of(invitations.get(brand_id, invitation_id))


_BRAND = "/api/v1/brands/{brand_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    (f"{_BRAND}/members", Members()),
    (f"{_BRAND}/members/{{user_id:uuid}}", Member()),
    (f"{_BRAND}/invitations", Invitations()),
    (f"{_BRAND}/invitations/{{invitation_id:uuid}}", Invitation()),
    (f"{_BRAND}/invitations/{{invitation_id:uuid}}/resend", InvitationResend()),
]
