"""Resources of invitations into a brand, and of their acceptance."""

from typing import Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core import emails, signed_links
from models.core.database import transaction
from models.core.signed_links import LinkInvalid
from models.identity import accounts, passwords, permissions
from models.identity.accounts import EmailInUse
from models.identity.permissions import MemberRole
from models.tenants import brands, invitations
from models.tenants.brands import BrandArchived
from models.tenants.invitations import (
    AlreadyInvited,
    AlreadyMember,
    InvitationClosed,
    RoleNotGrantable,
    SentJustNow,
    TooManyInvitations,
)
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import Email, Locale, NewPassword, Text200, Token


class InvitationIn(msgspec.Struct, forbid_unknown_fields=True):
    """A new invitation: the address, and the role of the future member."""

    email: Email
    role: MemberRole


class InvitationOut(msgspec.Struct):
    """An invitation. Only the mail contains its link."""

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
        """Build the response for an invitation."""
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


class Invitations:
    """`/api/v1/brands/{brand_id}/invitations`: the invitations into a brand."""

    @endpoint(query=PageQuery, response=Page[InvitationOut], permission="members:read", audit="invitation.list")
    def on_get(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """List a brand's invitations, newest first."""
        query: PageQuery = req.context.query
        scope = f"invitations:{brands.get(brand_id).id}"
        found = invitations.page(brand_id, query.limit + 1, decode_cursor(query.cursor, UUID, scope=scope))
        items = [InvitationOut.of(invitation) for invitation in found]
        audited(req, table="invitations", brand_id=brand_id, shown=[item.id for item in items[: query.limit]])
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)

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
        """Invite a person. The address gets a link that is valid for a week, whether it has an account or not."""
        body: InvitationIn = req.context.body
        email = emails.normalise(body.email)
        invitation = invitations.get(brand_id, invitations.invite(brand_id, email, body.role))
        content = {"email": accounts.protect("email", email), "role": body.role}
        audited(req, table="invitations", record_id=invitation.id, brand_id=brand_id, after=content)
        resp.location = f"/api/v1/brands/{brand_id}/invitations/{invitation.id}"
        resp.media = InvitationOut.of(invitation)


class Invitation:
    """`/api/v1/brands/{brand_id}/invitations/{invitation_id}`: one invitation."""

    @endpoint(response=InvitationOut, permission="members:read", audit="invitation.read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Read an invitation."""
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id)
        resp.media = InvitationOut.of(invitations.get(brand_id, invitation_id))

    @endpoint(
        operation_id="revokeInvitation",
        status=204,
        permission="members:write",
        audit="invitation.revoke",
        problems=(InvitationClosed,),
    )
    def on_delete(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Revoke an invitation. Its link is invalid from then on."""
        invitation = invitations.get(brand_id, invitation_id)
        invitations.revoke(brand_id, invitation_id)
        was = {"email": accounts.protect("email", invitation.email), "role": permissions.role_of(invitation.role_id)}
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id, before=was)


class InvitationResend:
    """`/api/v1/brands/{brand_id}/invitations/{invitation_id}/resend`: send an invitation's mail again."""

    @endpoint(
        response=InvitationOut,
        permission="members:write",
        audit="invitation.resend",
        problems=(BrandArchived, InvitationClosed, SentJustNow),
    )
    def on_post(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Send an invitation again, at most once a minute. It is valid for another week."""
        invitations.renew(brand_id, invitation_id)
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id)
        resp.media = InvitationOut.of(invitations.get(brand_id, invitation_id))


class AcceptanceIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Token of an invitation's link, and the choices of the new member."""

    token: Token
    password: NewPassword
    name: Text200 | None = None
    locale: Locale = "en"


class AcceptanceOut(msgspec.Struct):
    """The address that the new member signs in with."""

    email: str
    status: Literal["accepted"] = "accepted"


class Acceptance:
    """`/api/v1/auth/accept-invitation`: accept an invitation by its link."""

    @endpoint(
        operation_id="acceptInvitation",
        credentials=True,
        own_sign_in=True,
        body=AcceptanceIn,
        response=AcceptanceOut,
        permission="public",
        refused_as="invitation.accept",
        rate="30/minute",
        slow=True,
        chooses_password=True,
        outward=True,
        problems=(LinkInvalid, EmailInUse),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Accept an invitation into a brand and set a password. The link is valid once, for a week."""
        body: AcceptanceIn = req.context.body
        # Read the invitation before checking and hashing the password: only a valid link may cause this work.
        invitation_id = signed_links.read(invitations.LINK_PURPOSE, body.token)
        with transaction(req.context.identity):
            email = invitations.owner(invitation_id)
        passwords.require_good(body.password, email, body.name)
        password_hash = passwords.hash(body.password)
        with transaction(req.context.identity):
            invitations.accept(invitation_id, password_hash, body.name, body.locale)
        resp.media = AcceptanceOut(email)


class InvitationTokenIn(msgspec.Struct, forbid_unknown_fields=True):
    """Token of an invitation's link."""

    token: Token


class OwnInvitationOut(msgspec.Struct):
    """The brand that the caller is now a member of."""

    brand_id: UUID
    status: Literal["accepted"] = "accepted"


class OwnInvitation:
    """`/api/v1/users/me/invitation`: accept an invitation to the caller's own address."""

    @endpoint(
        operation_id="acceptOwnInvitation",
        credentials=True,
        body=InvitationTokenIn,
        response=OwnInvitationOut,
        permission="authenticated",
        problems=(LinkInvalid, AlreadyMember),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Accept an invitation with the caller's account. A fan becomes a member of the brand.

        The access token in use names the role Fan and is refused from then on (401 `session_ended`): refresh it.
        """
        invitation_id = signed_links.read(invitations.LINK_PURPOSE, req.context.body.token)
        resp.media = OwnInvitationOut(invitations.accept_as_fan(invitation_id))


_BRAND = "/api/v1/brands/{brand_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    (f"{_BRAND}/invitations", Invitations()),
    (f"{_BRAND}/invitations/{{invitation_id:uuid}}", Invitation()),
    (f"{_BRAND}/invitations/{{invitation_id:uuid}}/resend", InvitationResend()),
    ("/api/v1/auth/accept-invitation", Acceptance()),
    ("/api/v1/users/me/invitation", OwnInvitation()),
]
