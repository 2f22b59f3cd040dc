"""Changes of passwords and email addresses."""

import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.audit import trail
from models.core import signed_links
from models.core.context import Identity
from models.core.database import after_commit, execute, new_id, row, transaction, value
from models.core.errors import Conflict
from models.identity import accounts, passwords, step_up
from models.identity.step_up import WrongPassword
from models.jobs.ledger import notify_relay

RESET_LIFETIME = timedelta(hours=1)
CHANGE_LIFETIME = timedelta(hours=24)
UNDO = timedelta(days=7)
"""Period in which the old address can undo a change. All three periods begin when the mail server accepts the mail."""

MAIL_WINDOW = timedelta(hours=1)
MAILS = 3
"""Maximum number of mails of one kind to one address, and of one account, within `MAIL_WINDOW`."""

RESET = "password-reset"
CONFIRM = "email-change"
UNDO_CHANGE = "email-undo"
"""Purposes of one-time links."""


class SamePassword(Conflict):
    """The new password equals the present one."""

    code = "same_password"


def request_password_reset(email: str) -> None:
    """Mail a link for a new password if an account has this address. Take equally long otherwise.

    Args:
        email: the address, normalised.
    """
    execute(
        "SELECT app.request_password_reset(%s, %s, %s, %s, %s, %s, %s)",
        (
            *(new_id(), email, accounts.mail_counter(RESET, email), MAILS, MAIL_WINDOW),
            *(_expiry(RESET_LIFETIME), accounts.request_origin()),
        ),
    )
    after_commit(notify_relay)


def reset_password(identity: Identity, token: str, password: str) -> None:
    """Set the password of the account that a link is for.

    Its sessions, authenticator, recovery codes, API keys and open invitations from before end; the person is notified.
    Opens its own transactions. None is open while the password is hashed.

    Raises:
        LinkInvalid: the link is unknown, used or expired.
        Invalid: the password is too weak, or appears in a known data breach.
    """
    reset_id = signed_links.read(RESET, token)
    with transaction(identity):
        owner = row("SELECT * FROM app.password_reset_owner(%s)", (reset_id,))
    assert owner is not None
    passwords.require_good(password, owner["email"], owner["name"])
    password_hash = passwords.hash(password)
    with transaction(identity):
        execute("SELECT app.reset_password(%s, %s, %s)", (reset_id, password_hash, accounts.request_origin()))
        after_commit(notify_relay)


def change_password(identity: Identity, present: str, new: str) -> None:
    """Change the caller's password and end the caller's other sessions.

    Opens its own transactions. None is open while a password is hashed.

    Raises:
        WrongPassword: `present` is wrong, or the account has no password.
        SamePassword: both passwords are equal.
        Invalid: the new password is too weak, or appears in a known data breach.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """
    stored = step_up.begin_attempt(identity)
    if not passwords.verify(stored, present):
        raise WrongPassword
    with transaction(identity):
        email, name = accounts.own_email_and_name()
    passwords.require_good(new, email or "", name, field="new_password")
    if present == new:
        raise SamePassword
    new_hash = passwords.hash(new)
    with transaction(identity):
        done = value(
            "SELECT app.change_password(%s, %s, %s, %s)",
            (stored, new_hash, step_up.key(identity), accounts.request_origin()),
        )
        if done:
            trail.record("password.change", table="users", record_id=identity.user_id)
        after_commit(notify_relay)
    if not done:
        raise WrongPassword


def request_email_change(identity: Identity, email: str) -> dict[str, Any]:
    """Mail the caller's new address a link that confirms it, or a notice that it has an account already.

    Returns:
        `before` and `after` for the audit entry.

    Args:
        identity: the caller.
        email: the new address, normalised.

    Raises:
        Forbidden: the caller does not sign in with an email address here.
    """
    present, _ = accounts.own_email_and_name()
    audited = {
        "before": {"email": accounts.protect("email", present)},
        "after": {"email": accounts.protect("email", email)},
    }
    counted = [accounts.mail_counter(CONFIRM, whose) for whose in (email, str(identity.user_id))]
    execute(
        "SELECT app.request_email_change(%s, %s, %s, %s, %s, %s, %s, %s)",
        (new_id(), email, audited, counted, MAILS, MAIL_WINDOW, _expiry(CHANGE_LIFETIME), accounts.request_origin()),
    )
    after_commit(notify_relay)
    return audited


def confirm_email_change(token: str) -> None:
    """Set the account's new address, and mail the old one a link that undoes the change.

    Raises:
        LinkInvalid: the link is unknown, used or expired, or another account has the address now.
    """
    change_id = signed_links.read(CONFIRM, token)
    execute("SELECT app.confirm_email_change(%s, %s, %s)", (change_id, _expiry(UNDO), accounts.request_origin()))
    after_commit(notify_relay)


def undo_email_change(identity: Identity, token: str) -> None:
    """Restore the account's old address, end its sessions, and mail a link for a new password to that address.

    A random password that is not stored replaces the present one. The authenticator, recovery codes, API keys and open
    invitations of the person end. Opens its own transaction, after the replacing password is hashed.

    Raises:
        LinkInvalid: the link is unknown, used or expired.
    """
    change_id = signed_links.read(UNDO_CHANGE, token)
    unknown = passwords.hash(secrets.token_urlsafe(32))
    with transaction(identity):
        execute(
            "SELECT app.undo_email_change(%s, %s, %s, %s, %s)",
            (change_id, unknown, new_id(), _expiry(RESET_LIFETIME), accounts.request_origin()),
        )
        after_commit(notify_relay)


def reset_mail(reset_id: UUID) -> dict[str, Any] | None:
    """Return `email` and `locale` of the mail with a link for a new password; None if the link is used or expired."""
    return row("SELECT * FROM app.reset_mail(%s)", (reset_id,))


def change_mail(change_id: UUID) -> dict[str, Any] | None:
    """Return `old_email`, `old_locale`, `new_email` and `new_locale` of a change; None if it is undone or expired."""
    return row("SELECT * FROM app.change_mail(%s)", (change_id,))


def _expiry(lifetime: timedelta) -> timedelta:
    """Return the period until a link expires whose mail no server has accepted; see `signed_links.begin`."""
    return signed_links.MAIL_PERIOD + lifetime
