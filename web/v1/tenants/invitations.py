"""Invitations into a brand, and their acceptance.

A Brand Admin invites an address. The mailed link opens a page that calls `POST /api/v1/auth/accept-invitation`, which
creates the member's account. A fan who is signed in accepts with `POST /api/v1/users/me/invitation`.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.core import signed_links
from models.core.database import transaction
from models.core.enumerations import enumeration
from models.core.signed_links import LinkInvalid
from models.identity import accounts, passwords, permissions
from models.identity.accounts import EmailInUse
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
from web.http.fields import (
    LINK_TOKEN,
    BrandId,
    CreatedAt,
    Email,
    EmailText,
    Id,
    Locale,
    NewPassword,
    Text200,
    Token,
)
from web.http.locales import chosen
from web.http.person_fields import MemberRole

InvitationStatus = Annotated[
    invitations.InvitationStatus,
    enumeration(
        "InvitationStatus",
        "`open`: the link is valid. `accepted`: the person is a member. `revoked`: it was withdrawn. `expired`: the"
        " link was not used in time; the invitation can be sent again.",
    ),
]


class InvitationIn(msgspec.Struct, forbid_unknown_fields=True):
    """A new invitation into the brand."""

    email: Annotated[
        Email,
        Meta(
            description="Address that the invitation is mailed to. It belongs to no account, or to a fan's.",
            examples=["luis@aurora.example"],
        ),
    ]
    role: Annotated[
        MemberRole,
        Meta(
            description="Role of the future member. Callers can grant only roles whose permissions they have.",
            examples=["Creator"],
        ),
    ]


class InvitationOut(msgspec.Struct):
    """An invitation into a brand. Only the mail contains its link."""

    id: Id
    email: Annotated[
        EmailText,
        Meta(description="Address that the invitation was mailed to, in lower case.", examples=["luis@aurora.example"]),
    ]
    role: Annotated[MemberRole, Meta(description="Role of the future member.", examples=["Creator"])]
    status: Annotated[
        InvitationStatus, Meta(description="Whether the link was used, and whether it can still be used.")
    ]
    invited_by: Annotated[
        UUID | None,
        Meta(
            description="Id of the person who sent the invitation; null once the account is deleted.",
            examples=["01941f28-5de0-7f06-b3a9-0c7e2d4b8a61"],
        ),
    ]
    created_at: CreatedAt
    sent_at: Annotated[Instant, Meta(description="Time when the invitation was last sent, in UTC.")]
    expires_at: Annotated[
        Instant,
        Meta(description="Time until which the link is valid, in UTC: a week after the mail server accepted the mail."),
    ]

    @classmethod
    def of(cls, invitation: invitations.Invitation) -> "InvitationOut":
        """Build the response for an invitation."""
        return cls(
            invitation.id,
            invitation.email,
            permissions.member_role_of(invitation.role_id),
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
        """List the invitations into a brand, newest first. The list includes accepted, revoked and expired ones."""
        query: PageQuery = req.context.query
        scope = f"invitations:{brands.get(brand_id).id}"
        found = invitations.page(brand_id, query.limit + 1, decode_cursor(query.cursor, UUID, scope=scope))
        items = [InvitationOut.of(invitation) for invitation in found]
        audited(req, table="invitations", brand_id=brand_id, shown=[item.id for item in items[: query.limit]])
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        body=InvitationIn,
        example={"email": "luis@aurora.example", "role": "Creator"},
        response=InvitationOut,
        status=201,
        permission="members:write",
        audit="invitation.create",
        idempotent=True,
        problems=(AlreadyInvited, AlreadyMember, BrandArchived, EmailInUse, RoleNotGrantable, TooManyInvitations),
    )
    def on_post(self, req: Request, resp: Response, brand_id: UUID) -> None:
        """Invite a person into a brand.

        The address gets a mail with a link that is valid for a week. Its page calls
        `POST /api/v1/auth/accept-invitation`, which creates the member or turns a fan's account into the member's. The
        mail is in the language of the account, or in the brand's `settings.locale` if there is no account. A brand
        sends at most 200 invitations a day. An address gets at most five invitation mails an hour; beyond that the
        invitation is created without a mail.
        """
        body: InvitationIn = req.context.body
        email = body.email
        invitation = invitations.get(brand_id, invitations.invite(brand_id, email, body.role))
        content = {"email": accounts.protect("email", email), "role": body.role}
        audited(req, table="invitations", record_id=invitation.id, brand_id=brand_id, after=content)
        resp.location = f"/api/v1/brands/{brand_id}/invitations/{invitation.id}"
        resp.media = InvitationOut.of(invitation)


class Invitation:
    """`/api/v1/brands/{brand_id}/invitations/{invitation_id}`: one invitation."""

    @endpoint(response=InvitationOut, permission="members:read", audit="invitation.read")
    def on_get(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Read an invitation into a brand."""
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
        """Revoke an invitation. Its link is invalid from then on, and the invitation stays in the list."""
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
        idempotent=True,
        problems=(BrandArchived, InvitationClosed, SentJustNow),
    )
    def on_post(self, req: Request, resp: Response, brand_id: UUID, invitation_id: UUID) -> None:
        """Send the mail of an open or expired invitation again.

        The same link is valid for another week. An invitation is sent at most once a minute, and an address gets at
        most five invitation mails an hour; beyond that no mail is sent.
        """
        invitations.renew(brand_id, invitation_id)
        audited(req, table="invitations", record_id=invitation_id, brand_id=brand_id)
        resp.media = InvitationOut.of(invitations.get(brand_id, invitation_id))


Accepted = Annotated[Literal["accepted"], Meta(description="The invitation was accepted; its link is used.")]


class AcceptanceIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Token of an invitation's link, and the choices of the new member."""

    token: Token
    password: NewPassword
    name: Annotated[
        Text200 | None,
        Meta(description="Name of the new member. Null keeps the name of a fan's account.", examples=["Luis Pérez"]),
    ] = None
    locale: Annotated[
        Locale | UnsetType,
        Meta(
            description="Language of the new account, a language tag (BCP 47). A fan's account keeps its language."
            " Default: the first language of `Accept-Language`, else `en`.",
            examples=["es-MX"],
        ),
    ] = UNSET


class AcceptanceOut(msgspec.Struct):
    """The person is a member of the brand, and can sign in."""

    email: Annotated[
        EmailText, Meta(description="The address that the new member signs in with.", examples=["luis@aurora.example"])
    ]
    status: Accepted = "accepted"


class Acceptance:
    """`/api/v1/auth/accept-invitation`: accept an invitation by its link."""

    @endpoint(
        operation_id="acceptInvitation",
        credentials=True,
        own_sign_in=True,
        body=AcceptanceIn,
        example={"token": LINK_TOKEN, "password": "paseo por el prado", "name": "Luis Pérez", "locale": "es-MX"},
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
        """Accept an invitation into a brand with the token of the mailed link, and set a password.

        The link is valid once, for a week. It creates the member's account. If a fan has the address, the fan's account
        becomes the member's: its sessions, authenticator, recovery codes and API keys end. Next, sign in with
        `POST /api/v1/auth/login`. A fan who is signed in can use `POST /api/v1/users/me/invitation` instead.
        """
        body: AcceptanceIn = req.context.body
        # Read the invitation before checking and hashing the password: only a valid link may cause this work.
        invitation_id = signed_links.read(invitations.LINK_PURPOSE, body.token)
        with transaction(req.context.identity):
            email = invitations.owner(invitation_id)
        passwords.require_good(body.password, email, body.name)
        password_hash = passwords.hash(body.password)
        with transaction(req.context.identity):
            invitations.accept(invitation_id, password_hash, body.name, chosen(body.locale, req))
        resp.media = AcceptanceOut(email)


class InvitationTokenIn(msgspec.Struct, forbid_unknown_fields=True):
    """Token of an invitation's link."""

    token: Token


class OwnInvitationOut(msgspec.Struct):
    """The brand that the caller is now a member of."""

    brand_id: BrandId
    status: Accepted = "accepted"


class OwnInvitation:
    """`/api/v1/users/me/invitation`: accept an invitation to the caller's own address."""

    @endpoint(
        operation_id="acceptOwnInvitation",
        credentials=True,
        body=InvitationTokenIn,
        example={"token": LINK_TOKEN},
        response=OwnInvitationOut,
        permission="authenticated",
        idempotent=True,
        problems=(LinkInvalid, AlreadyMember),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Accept an invitation to the caller's own address. A fan becomes a member of the brand.

        The session stays. Its access token names the role Fan and is refused from then on (401 `session_ended`): next,
        call `POST /api/v1/auth/refresh`. Other sessions, the authenticator, recovery codes and API keys end. People
        without an account use `POST /api/v1/auth/accept-invitation`.
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
