"""Send mails, one actor for each kind. A mail is sent at least once; repetitions have the same Message-ID."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from jobs.mail import smtp, templates
from models.core import signed_links
from models.identity import accounts, credentials
from models.notifications import kinds, notifications
from models.tenants import invitations, members
from settings import settings

logger = logging.getLogger(__name__)

WAITS = (5.0, 30.0, 120.0, 600.0, 900.0)
"""Seconds between attempts. A server that greylists accepts a repetition after some minutes (RFC 6647)."""

mail_actor = partial(
    actor,
    queue="mail",
    runs_as="system",
    outward=True,
    max_attempts=None,
    give_up_after=signed_links.MAIL_PERIOD,
    waits=WAITS,
)
"""Declare the actor of one kind of mail."""


@dataclass(frozen=True, slots=True)
class Link:
    """One-time link in a mail: the page that it opens, its record, and its lifetime after the mail."""

    page: str
    purpose: str
    id: UUID
    lifetime: timedelta

    def url(self, language: str) -> str:
        """Return the link to the page, which opens in the mail's language.

        The token is in the fragment, which browsers don't send: no log and no referrer holds it.
        """
        token = signed_links.make(self.purpose, self.id)
        return f"{settings.frontend_url}/{self.page}?lang={language}#token={token}"


@mail_actor("mail.verification")
def send_verification(signup_id: UUID) -> None:
    """Send the link that confirms a sign-up, unless it is confirmed or expired."""
    with own_transaction():
        signup = accounts.signup_mail(signup_id)
    if signup:
        link = Link("verify-email", accounts.SIGNUP, signup_id, accounts.SIGNUP_LIFETIME)
        _send_link("verification", signup["email"], signup["locale"], link)


@mail_actor("mail.account_exists")
def send_account_exists(signup_id: UUID) -> None:
    """Notify the owner of an account of a sign-up with their address."""
    with own_transaction():
        signup = accounts.signup_mail(signup_id)
    if signup:
        _send_notice("account_exists", signup["email"], signup["locale"])


@mail_actor("mail.invitation", runs_as="brand")
def send_invitation(invitation_id: UUID) -> None:
    """Send the link that accepts an invitation, unless it is used or expired."""
    with own_transaction():
        invited = invitations.mail(invitation_id)
    if invited:
        link = Link("accept-invitation", invitations.LINK_PURPOSE, invitation_id, invitations.LIFETIME)
        _send_link("invitation", invited["email"], invited["locale"], link, brand=invited["brand"])


@mail_actor("mail.mfa_required", runs_as="brand")
def send_mfa_required(user_id: UUID) -> None:
    """Notify a member of the date from which their brand requires MFA, unless they have set it up."""
    with own_transaction():
        notice = members.mfa_mail(user_id)
    if notice:
        language = templates.language("mfa_required", notice["locale"])
        when = templates.moment(notice["required_from"], notice["timezone"], language)
        _send_notice("mfa_required", notice["email"], notice["locale"], brand=notice["brand"], when=when)


@mail_actor("mail.account_notice")
def send_account_notice(user_id: UUID, template: str) -> None:
    """Notify a person of a change of their account, with the named template."""
    with own_transaction():
        owner = accounts.mail_recipient(user_id)
    if owner:
        _send_notice(template, owner["email"], owner["locale"])


@mail_actor("mail.notification")
def send_notification(notification_id: UUID) -> None:
    """Mail a notification, unless it has been read or the person may no longer read it or wants no such mails."""
    with own_transaction():
        found = notifications.mail(notification_id)
    if found:
        text = kinds.render(found["kind"], templates.language("notification", found["locale"]), found["details"])
        _send_notice("notification", found["email"], found["locale"], title=text.title, text=text.body)


@mail_actor("mail.password_reset")
def send_password_reset(reset_id: UUID) -> None:
    """Send the link for a new password, unless no account has the address, or the link is used or expired."""
    with own_transaction():
        owner = credentials.reset_mail(reset_id)
    if owner:
        link = Link("reset-password", credentials.RESET, reset_id, credentials.RESET_LIFETIME)
        _send_link("password_reset", owner["email"], owner["locale"], link)


@mail_actor("mail.email_undone")
def send_email_undone(reset_id: UUID) -> None:
    """Confirm to a person that the change of their address was undone, with the link for a new password."""
    with own_transaction():
        owner = credentials.reset_mail(reset_id)
    if owner:
        link = Link("reset-password", credentials.RESET, reset_id, credentials.RESET_LIFETIME)
        _send_link("email_undone", owner["email"], owner["locale"], link)


@mail_actor("mail.email_change")
def send_email_change(change_id: UUID) -> None:
    """Send the link that confirms the new address of an account to that address."""
    with own_transaction():
        change = credentials.change_mail(change_id)
    if change:
        link = Link("confirm-email", credentials.CONFIRM, change_id, credentials.CHANGE_LIFETIME)
        _send_link("email_change", change["new_email"], change["new_locale"], link)


@mail_actor("mail.email_taken")
def send_email_taken(change_id: UUID) -> None:
    """Notify the owner of an account of a request to use their address for another account."""
    with own_transaction():
        change = credentials.change_mail(change_id)
    if change:
        _send_notice("email_taken", change["new_email"], change["new_locale"])


@mail_actor("mail.email_changed")
def send_email_changed(change_id: UUID) -> None:
    """Notify the old address of the change to a new one, with the link that undoes it."""
    with own_transaction():
        change = credentials.change_mail(change_id)
    if change:
        link = Link("undo-email", credentials.UNDO_CHANGE, change_id, credentials.UNDO)
        _send_link("email_changed", change["old_email"], change["old_locale"], link)


def _send_link(name: str, to: str, locale: str, link: Link, **values: str) -> None:
    """Send a mail with a one-time link. The link's lifetime begins when the server has accepted the mail."""
    _send(name, to, locale, link=link.url(templates.language(name, locale)), **values)
    with own_transaction():
        signed_links.start_lifetime(link.purpose, link.id, link.lifetime)


def _send_notice(name: str, to: str, locale: str, **values: str) -> None:
    """Send a mail whose link opens the front end in the mail's language."""
    _send(name, to, locale, link=f"{settings.frontend_url}/?lang={templates.language(name, locale)}", **values)


def _send(name: str, to: str, locale: str, **values: str) -> None:
    smtp.send(_compose(name, to, locale, values))


def _compose(name: str, to: str, locale: str, values: dict[str, str]) -> smtp.Mail:
    """Compose a mail. An error here depends on the job only, so a retry would fail as well."""
    try:
        return smtp.compose(templates.render(name, locale, **values), to, current_job().idempotency_key)
    except Exception as error:
        logger.exception("the mail %s can't be composed", name)
        raise smtp.Undeliverable(f"{type(error).__name__}: {error}") from error
