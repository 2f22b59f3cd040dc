"""Sign-ups: a request for an account, and its verification by the link in the mail.

The form sets only the address and the language of the mail. The reader of the mail sets password, name and consents
together with the token of the link (docs/decisions/0017-reader-of-the-mail-decides.md).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.core import signed_links
from models.core.context import Identity, unauthenticated
from models.core.database import after_commit, execute, new_id, row, transaction, value
from models.core.errors import Conflict, Invalid, check_all
from models.identity import accounts, passwords, refresh_tokens, sessions
from models.identity.sessions import Person, Session
from models.jobs.ledger import notify_relay

MAIL_WINDOW = timedelta(hours=1)
MAILS = 5
"""Maximum number of sign-up mails to one address within `MAIL_WINDOW`."""


class AlreadyRegistered(Conflict):
    """The session belongs to an account already."""

    code = "already_registered"


def sign_up(email: str, locale: str) -> None:
    """Store the sign-up of an address and mail its link, or mail that the address has an account.

    A repetition mails the same link again. Over the limit, no mail is sent and the link stays valid.

    Args:
        email: the address, normalised.
        locale: language of the mail and of the page that it links to.
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
    """Create the account of a sign-up. An anonymous fan becomes the account, and the fan's sessions end.

    Opens its own transactions. None is open while the password is hashed.

    Args:
        identity: the unauthenticated identity, or the anonymous fan who becomes the account.
        token: token of the link.
        password: password of the account.
        name: name of the person.
        locale: language of a new account; an anonymous fan keeps the present one.
        consent_tiers: tiers that the person consents to for all brands.
        notice_id: the notice that the person has read; required with `consent_tiers`.

    Returns:
        The session that replaces the fan's sessions; None without a fan.

    Raises:
        LinkInvalid: the link is unknown, used or expired, or the address has an account now.
        AlreadyRegistered: the caller has an account.
        Invalid: the password is weak or breached, or the notice is missing; names both fields.
        UnknownNotice: no such notice is in force.
    """
    signup_id = signed_links.read(accounts.SIGNUP, token)
    is_fan = identity.actor_id is not None
    if is_fan and not identity.is_anonymous:
        raise AlreadyRegistered
    email = _email_of(signup_id)
    check_all(lambda: _require_notice(consent_tiers, notice_id), lambda: passwords.require_good(password, email, name))
    choices = (passwords.hash(password), name, locale, sorted(set(consent_tiers)), notice_id)
    return _create_account(identity, signup_id, choices, new_id() if is_fan else None)


def _require_notice(consent_tiers: Sequence[str], notice_id: UUID | None) -> None:
    if consent_tiers and notice_id is None:
        raise Invalid("notice_id", "is required with `consent_tiers`: the id of the displayed notice")


def _email_of(signup_id: UUID) -> str:
    with transaction(unauthenticated().on_credentials()):
        return str(value("SELECT app.signup_email(%s)", (signup_id,)))


def _create_account(
    identity: Identity, signup_id: UUID, choices: tuple[Any, ...], session_id: UUID | None
) -> Session | None:
    refresh_token = refresh_tokens.new()
    origin = accounts.request_origin()
    with transaction(identity):
        found = row(
            "SELECT * FROM app.verify_signup(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (signup_id, new_id(), *choices, session_id, *sessions.lifetimes(), refresh_token.hash, origin),
        )
        after_commit(notify_relay)
    if session_id is None:
        return None
    assert found is not None
    return sessions.started(session_id, refresh_token, Person(**found))
