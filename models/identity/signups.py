"""Sign-ups: an address that asks for an account, and the account that the reader of the mail makes.

The sender of the sign-up form chooses nothing of the account but the address and the language of the mail. Password,
name and consents come with the token of the link (docs/decisions/0017-the-mail-decides.md).
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from models.core import signed_links
from models.core.context import Identity, unauthenticated
from models.core.database import after_commit, execute, new_id, row, transaction, value
from models.core.errors import Conflict, Invalid
from models.identity import accounts, passwords, refresh_tokens, sessions
from models.identity.sessions import Person, Session
from models.jobs.ledger import notify_relay

MAIL_WINDOW = timedelta(hours=1)
MAILS = 5
"""Mails that sign-ups send to one address within `MAIL_WINDOW`."""


class AlreadyRegistered(Conflict):
    """The session belongs to an account."""

    code = "already_registered"


def sign_up(email: str, locale: str) -> None:
    """Store the sign-up of an address and mail its link, or mail that the address has an account.

    A repetition mails the same link again. Over the limit, no mail is sent and the link stays valid.

    Args:
        email: the address, normalised.
        locale: the language of the mail and of the page that it links to.
    """
    execute(
        "SELECT app.sign_up(%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            new_id(),
            email,
            locale,
            accounts.mail_counter(accounts.SIGNUP, email),
            MAILS,
            MAIL_WINDOW,
            signed_links.MAIL_PERIOD + accounts.SIGNUP_LIFETIME,
            accounts.request_origin(),
        ),
    )
    after_commit(notify_relay)


def verify(
    identity: Identity,
    token: str,
    password: str,
    *,
    name: str | None = None,
    locale: str = "en",
    consent_tiers: Sequence[str] = (),
    notice_id: UUID | None = None,
) -> Session | None:
    """Make the account that a link is for. An anonymous fan becomes the account, and all sessions of the fan end.

    Opens its own transactions, none of which is open while the password is hashed.

    Args:
        identity: nobody, or the anonymous fan who becomes the account.
        token: of the link.
        password: to sign in with.
        name: of the person.
        locale: of a new account; an anonymous fan keeps the own one.
        consent_tiers: tiers that the person agrees to for every brand.
        notice_id: the notice that the person has read; needed with `consent_tiers`.

    Returns:
        The session that replaces the fan's; None without a fan.

    Raises:
        LinkInvalid: the link is not ours, has been used, is too old, or the address has an account by now.
        AlreadyRegistered: the caller has an account.
        Invalid: nobody should choose this password, or there is no notice in force.
    """
    signup_id = signed_links.read(accounts.SIGNUP, token)
    is_fan = identity.actor_id is not None
    if is_fan and not identity.is_anonymous:
        raise AlreadyRegistered
    _require_notice(consent_tiers, notice_id)
    with transaction(unauthenticated().on_credentials()):
        email = value("SELECT app.signup_email(%s)", (signup_id,))
    passwords.require_good(password, email, name)
    password_hash = passwords.hash(password)
    session_id, refresh_token = new_id() if is_fan else None, refresh_tokens.new()
    with transaction(identity):
        found = row(
            "SELECT * FROM app.verify_signup(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                *(signup_id, new_id(), password_hash, name, locale, sorted(set(consent_tiers)), notice_id, session_id),
                *sessions.lifetimes(),
                *(refresh_token.hash, accounts.request_origin()),
            ),
        )
        after_commit(notify_relay)
    assert found is not None
    return sessions.started(session_id, refresh_token, Person(**found)) if session_id else None


def _require_notice(consent_tiers: Sequence[str], notice_id: UUID | None) -> None:
    if consent_tiers and notice_id is None:
        raise Invalid("notice_id", "is required with `consent_tiers`: the id of the notice that was shown")
