"""Invitations: how people get into a brand."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import signed_links
from models.core.database import Row, execute, new_id, now, row, value
from models.core.errors import Conflict, Forbidden, NotFound, TooMany
from models.jobs.ledger import enqueue

LIFETIME = timedelta(days=7)
"""How long an invitation's link is valid once the mail server has accepted it."""
_EXPIRY = signed_links.MAIL_PERIOD + LIFETIME
MOST_A_DAY = 200
"""Invitations that one brand may make within a day."""
MAILS_AN_HOUR = 5
"""Mails that invitations, of whichever brands, may have sent to one address within an hour."""


class AlreadyMember(Conflict):
    """Whoever is to be invited works for the brand."""

    code = "already_member"


class AlreadyInvited(Conflict):
    """There is an open invitation to the address; it can be sent again."""

    code = "already_invited"


class InvitationClosed(Conflict):
    """It has been accepted or revoked."""

    code = "invitation_closed"


class BrandArchived(Conflict):
    """Nobody works for the brand any more."""

    code = "brand_archived"


class RoleNotGrantable(Forbidden):
    """The role is above or outside of what the caller may give."""

    code = "role_not_grantable"


class SentJustNow(TooMany):
    """The invitation was sent a moment ago."""

    code = "sent_just_now"


class TooManyInvitations(TooMany):
    """The brand has invited enough people for today."""

    code = "too_many_invitations"


class Invitation(Row):
    """An invitation into a brand. Its link is made of its id, and not stored."""

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
        """Where it lives."""

        table_name = "invitations"
        schema = "app"

    @property
    def status(self) -> str:
        """`accepted`, `revoked`, `expired` or `open`."""
        if self.used_at is not None:
            return "accepted"
        if self.revoked_at is not None and self.revoked_at < self.expires_at:
            return "revoked"
        return "expired" if self.expires_at <= now() else "open"


def page(brand_id: UUID, limit: int, after: UUID | None = None) -> list[Invitation]:
    """A brand's invitations, newest first, as far as the caller may see them."""
    query = Invitation.select().where(Invitation.brand_id == brand_id).order_by(Invitation.id.desc()).limit(limit)
    return list(query if after is None else query.where(Invitation.id < after))


def get(brand_id: UUID, invitation_id: UUID) -> Invitation:
    """One of them.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    found: Invitation | None = Invitation.get_or_none(Invitation.id == invitation_id, Invitation.brand_id == brand_id)
    if found is None:
        raise NotFound
    return found


def invite(brand_id: UUID, email: str, role: str) -> UUID:
    """Invite somebody into a brand and have the mail sent; the invitation's id.

    Args:
        brand_id: the brand.
        email: where the invitation goes, normalised.
        role: `Brand Admin`, `Campaign Manager` or `Creator`.

    Raises:
        NotFound: there is no such brand, or it isn't the caller's.
        RoleNotGrantable: the role is none that the caller may give.
        BrandArchived: the brand is archived.
        AlreadyMember: the address belongs to somebody who works for the brand.
        AlreadyInvited: there is an invitation to it.
        EmailInUse: it belongs to somebody else than a fan; only system admins are told.
        TooManyInvitations: the brand has invited `MOST_A_DAY` people within a day.
    """
    invitation_id = new_id()
    may_mail = value(
        "SELECT app.invite(%s, %s, %s, %s, %s, %s, %s)",
        (invitation_id, brand_id, email, role, _EXPIRY, MOST_A_DAY, MAILS_AN_HOUR),
    )
    if may_mail:
        enqueue("mail.invitation", invitation_id, brand_id=brand_id)
    return invitation_id


def renew(brand_id: UUID, invitation_id: UUID) -> None:
    """Prolong an open invitation and have its mail sent again.

    Raises:
        NotFound: there is no such invitation in the caller's brand.
        InvitationClosed: it has been accepted or revoked.
        BrandArchived: the brand is archived, and the link would be good for nothing.
        SentJustNow: it was, less than a minute ago.
    """
    if value("SELECT app.renew_invitation(%s, %s, %s, %s)", (brand_id, invitation_id, _EXPIRY, MAILS_AN_HOUR)):
        enqueue("mail.invitation", invitation_id, brand_id=brand_id)


def revoke(brand_id: UUID, invitation_id: UUID) -> None:
    """Take an open invitation back; its link is good for nothing from then on.

    Raises:
        NotFound: there is no such invitation in the caller's brand.
        InvitationClosed: it has been accepted or revoked.
    """
    execute("SELECT app.revoke_invitation(%s, %s)", (brand_id, invitation_id))


def mail(invitation_id: UUID) -> dict[str, Any] | None:
    """What the mail with an invitation needs: `email`, `brand`, and `locale`, which the brand's settings may name.

    None if the invitation has been used or revoked, or is too old by now.
    """
    return row(
        "SELECT i.email, coalesce(b.settings ->> 'locale', 'en') AS locale, b.name AS brand"
        " FROM app.invitations i JOIN public.brands b ON b.id = i.brand_id"
        " WHERE i.id = %s AND i.used_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()",
        (invitation_id,),
    )
