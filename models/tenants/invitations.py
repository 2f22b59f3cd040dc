"""Invitations into a brand: send, send again, revoke, accept."""

from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import signed_links
from models.core.database import Row, after_commit, execute, new_id, now, row, value
from models.core.errors import Conflict, Forbidden, NotFound, TooMany
from models.identity import accounts
from models.jobs.ledger import enqueue, notify_relay

InvitationStatus = Literal["open", "accepted", "revoked", "expired"]

LINK_PURPOSE = "invitation"
LIFETIME = timedelta(days=7)
"""Validity of the link, counted from the delivery to the mail server."""
_EXPIRY = signed_links.MAIL_PERIOD + LIFETIME
MAX_PER_DAY = 200
"""Maximum number of invitations of one brand within a day."""
MAX_MAILS_PER_HOUR = 5
"""Maximum number of invitation mails to one address within an hour, of all brands together."""


class AlreadyMember(Conflict):
    """The person is a member of the brand already."""

    code = "already_member"


class AlreadyInvited(Conflict):
    """There is an open invitation to the address; it can be sent again."""

    code = "already_invited"


class InvitationClosed(Conflict):
    """The invitation has been accepted or revoked."""

    code = "invitation_closed"


class RoleNotGrantable(Forbidden):
    """The caller may not grant this role."""

    code = "role_not_grantable"


class SentJustNow(TooMany):
    """The invitation was sent less than a minute ago."""

    code = "sent_just_now"


class TooManyInvitations(TooMany):
    """The brand has sent its maximum number of invitations for a day."""

    code = "too_many_invitations"


class Invitation(Row):
    """An invitation into a brand. Its link is computed from its id and not stored."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    email = peewee.TextField()
    role_id = peewee.IntegerField()
    invited_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()
    expires_at = DateTimeTZField()
    used_at = DateTimeTZField(null=True)
    revoked_at = DateTimeTZField(null=True)
    sent_at = DateTimeTZField()
    mails = peewee.IntegerField()

    class Meta:
        """Name of the table."""

        table_name = "invitations"
        schema = "app"

    @property
    def status(self) -> InvitationStatus:
        """`accepted`, `revoked`, `expired` or `open`."""
        if self.used_at is not None:
            return "accepted"
        # An expired invitation that a newer one replaces is closed with `revoked_at` = `expires_at`.
        if self.revoked_at is not None and self.revoked_at < self.expires_at:
            return "revoked"
        return "expired" if self.expires_at <= now() else "open"


def page(brand_id: UUID, limit: int, after: UUID | None = None) -> list[Invitation]:
    """Return a brand's invitations that the caller may see, newest first."""
    query = Invitation.select().where(Invitation.brand_id == brand_id).order_by(Invitation.id.desc()).limit(limit)
    return list(query if after is None else query.where(Invitation.id < after))


def get(brand_id: UUID, invitation_id: UUID) -> Invitation:
    """Return an invitation of a brand.

    Raises:
        NotFound: there is no such invitation, or the caller may not see it.
    """
    found: Invitation | None = Invitation.get_or_none(Invitation.id == invitation_id, Invitation.brand_id == brand_id)
    if found is None:
        raise NotFound
    return found


def invite(brand_id: UUID, email: str, role: str) -> UUID:
    """Invite a person into a brand and enqueue the mail. Return the invitation's id.

    Args:
        brand_id: the brand.
        email: the address, normalised.
        role: `Brand Admin`, `Campaign Manager` or `Creator`.

    Raises:
        NotFound: there is no such brand, or it is another brand than the caller's.
        RoleNotGrantable: the caller may not grant this role.
        BrandArchived: the brand is archived.
        AlreadyMember: the address belongs to a member of the brand.
        AlreadyInvited: there is an open invitation to the address.
        EmailInUse: the address belongs to an account that is no fan's. Only system admins get this error.
        TooManyInvitations: the brand has sent `MAX_PER_DAY` invitations within a day.
    """
    invitation_id = new_id()
    may_mail = value(
        "SELECT app.invite(%s, %s, %s, %s, %s, %s, %s)",
        (invitation_id, brand_id, email, role, _EXPIRY, MAX_PER_DAY, MAX_MAILS_PER_HOUR),
    )
    if may_mail:
        enqueue("mail.invitation", invitation_id, brand_id=brand_id)
    return invitation_id


def renew(brand_id: UUID, invitation_id: UUID) -> None:
    """Prolong an invitation and enqueue its mail again.

    Raises:
        NotFound: the caller's brand has no such invitation.
        InvitationClosed: the invitation has been accepted or revoked.
        BrandArchived: the brand is archived.
        SentJustNow: the invitation was sent less than a minute ago.
    """
    if value("SELECT app.renew_invitation(%s, %s, %s, %s)", (brand_id, invitation_id, _EXPIRY, MAX_MAILS_PER_HOUR)):
        enqueue("mail.invitation", invitation_id, brand_id=brand_id)


def revoke(brand_id: UUID, invitation_id: UUID) -> None:
    """Revoke an invitation. Its link is invalid from then on.

    Raises:
        NotFound: the caller's brand has no such invitation.
        InvitationClosed: the invitation has been accepted or revoked.
    """
    execute("SELECT app.revoke_invitation(%s, %s)", (brand_id, invitation_id))


def mail(invitation_id: UUID) -> dict[str, Any] | None:
    """Return the contents of an invitation's mail: `email`, `locale` and `brand`.

    The language is that of the account that the address has, else the brand's, else English. None if the invitation
    has been accepted or revoked, or has expired.
    """
    return row("SELECT * FROM app.invitation_mail(%s)", (invitation_id,))


def owner(invitation_id: UUID) -> str:
    """Return the address that an open invitation is for.

    Raises:
        LinkInvalid: the invitation has been accepted or revoked, or has expired.
    """
    email: str = value("SELECT app.invitation_owner(%s)", (invitation_id,))
    return email


def accept(invitation_id: UUID, password_hash: str, name: str | None, locale: str) -> str:
    """Create the member that an invitation is for. Return the address to sign in with.

    Raises:
        LinkInvalid: the invitation has been accepted or revoked, or has expired.
        EmailInUse: the address belongs to an account that is no fan's.
    """
    after_commit(notify_relay)
    email: str = value(
        "SELECT app.accept_invitation(%s, %s, %s, %s, %s, %s)",
        (invitation_id, new_id(), password_hash, name, locale, accounts.request_origin()),
    )
    return email


def accept_as_fan(invitation_id: UUID) -> UUID:
    """Make the caller, a fan, the member that an invitation to the caller's address is for. Return the brand's id.

    The caller's token names the role Fan and is refused from then on.

    Raises:
        LinkInvalid: the invitation is not open, or is for another address.
        AlreadyMember: the caller is a member already.
    """
    after_commit(notify_relay)
    brand_id: UUID = value("SELECT app.accept_invitation_as_fan(%s, %s)", (invitation_id, accounts.request_origin()))
    return brand_id
