"""Sessions: signing in, going on, and out. What a token may do is decided by its session, and that can be revoked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from models.core import context, emails, keys
from models.core.database import after_commit, execute, new_id, row, rows, transaction, value
from models.core.errors import TooMany, Unauthenticated
from models.identity import access_tokens, accounts, passwords, refresh_tokens
from models.identity.refresh_tokens import RefreshToken
from models.jobs.ledger import notify_relay
from settings import settings

Scope = Literal["this", "others", "all"]

MfaStep = Literal["verify", "enrol"]

REUSE_GRACE = timedelta(seconds=10)
"""How long a refresh token that has been used leads to its successor, although that has been used, too."""

MAX_REFRESHES_PER_HOUR = 60
"""How often one session may be refreshed within an hour; an access token lasts for an hour."""

WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS_PER_NETWORK = 10
"""Attempts to sign in to one account from one network within `WINDOW`."""
MAX_ATTEMPTS_PER_ACCOUNT = 100
"""Attempts to sign in to one account within `WINDOW`, from networks that it has not been used from lately."""


class InvalidCredentials(Unauthenticated):
    """The address and the password are not those of an account; it isn't said which of them is wrong."""

    code = "invalid_credentials"
    is_audited = False  # app.record_failed_sign_in has, with the account that was meant


class RefreshTokenInvalid(Unauthenticated):
    """The session can't be gone on with."""

    code = "refresh_token_invalid"


class TooManyRefreshes(TooMany):
    """The session was refreshed too often within the hour."""

    code = "too_many_refreshes"


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever has just signed in."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    role: str
    brand_id: UUID | None
    is_anonymous: bool
    aal: str = "aal1"
    mfa_required: MfaStep | None = None
    """What the session owes before it may do anything else."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has just begun or been refreshed, and its tokens: what acts in it, and what it goes on with."""

    id: UUID
    access_token: str
    refresh_token: str
    person: Person


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session that lives, as its person sees it."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    authenticated_at: datetime | None
    expires_at: datetime
    address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is known of somebody who tries to sign in."""

    user_id: UUID | None
    password_hash: str | None
    account: bytes
    here: bytes


def sign_in(email: str, password: str, network: str) -> Session:
    """Begin a session for whoever has this address and this password.

    Opens its own transactions, none of which is open while the password is hashed.

    Args:
        email: the address, normalised.
        password: as it was typed.
        network: the part of the caller's address that stands for one customer of a provider.

    Raises:
        InvalidCredentials: there is no such account, it is not verified, or this is not its password.
        TooMany: too many attempts on this account; says in how many seconds the next one is.
    """
    with transaction(context.unauthenticated().on_credentials()):
        attempt, retry_after = _begin(email, network)
    if retry_after:
        raise TooMany("Too many attempts to sign in to this account.", retry_after=retry_after)
    if passwords.verify(attempt.password_hash, password):
        new_hash = passwords.hash(password) if passwords.needs_rehash(attempt.password_hash or "") else None
        with transaction(context.unauthenticated().on_credentials()):
            if session := _start(attempt, new_hash):
                return session
    with transaction(context.unauthenticated().on_credentials()):
        execute(
            "SELECT app.record_failed_sign_in(%s, %s, %s)",
            (attempt.user_id, attempt.account, accounts.request_origin()),
        )
        after_commit(notify_relay)
    raise InvalidCredentials


def _begin(email: str, network: str) -> tuple[_Attempt, int]:
    account = emails.fingerprint(email)
    here = keys.keyed_hash("sign-in", account, network.encode())
    found = row(
        "SELECT user_id, password_hash, retry_after FROM app.begin_sign_in(%s, %s, %s, %s, %s, %s, %s)",
        (email, here, account, MAX_ATTEMPTS_PER_NETWORK, MAX_ATTEMPTS_PER_ACCOUNT, WINDOW, network),
    )
    assert found is not None
    return _Attempt(found["user_id"], found["password_hash"], account, here), found["retry_after"]


def _start(attempt: _Attempt, new_hash: str | None) -> Session | None:
    session_id, refresh_token = new_id(), refresh_tokens.new()
    found = row(
        "SELECT * FROM app.sign_in(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            session_id,
            attempt.user_id,
            attempt.password_hash,
            new_hash,
            *lifetimes(),
            refresh_token.hash,
            attempt.here,
            attempt.account,
            accounts.request_origin(),
        ),
    )
    after_commit(notify_relay)
    return started(session_id, refresh_token, Person(**found)) if found else None


def sign_in_anonymously(locale: str = "en") -> Session:
    """Make a fan without an account, and their session."""
    session_id, user_id, refresh_token = new_id(), new_id(), refresh_tokens.new()
    execute(
        "SELECT app.sign_in_anonymously(%s, %s, %s, %s, %s, %s, %s)",
        (session_id, user_id, locale, *lifetimes(), refresh_token.hash, accounts.request_origin()),
    )
    person = Person(user_id, None, None, locale, context.FAN, None, is_anonymous=True)
    return started(session_id, refresh_token, person)


def refresh(text: str) -> Session:
    """Go on with a session: another access token, which says what the person is now, and another refresh token.

    A token is good once. Sent again within `REUSE_GRACE` (two tabs asked at once), or while its successor has not been used
    (the answer got lost), it leads to the same successor. Otherwise two have the token, and the session ends. Opens its
    own transaction.

    Raises:
        RefreshTokenInvalid: it is none of ours, its session is over, or this has just ended it.
        TooManyRefreshes: the session was refreshed `MAX_REFRESHES_PER_HOUR` times within the hour.
    """
    token, successor = RefreshToken(text), refresh_tokens.new()
    with transaction(context.unauthenticated().on_credentials()):
        found = row(
            "SELECT outcome, successor, session_id, (person).* FROM app.refresh_session(%s, %s, %s, %s, %s, %s, %s)",
            (
                token.hash,
                successor.hash,
                token.seal(successor),
                REUSE_GRACE,
                lifetimes()[0],
                MAX_REFRESHES_PER_HOUR,
                accounts.request_origin(),
            ),
        )
        after_commit(notify_relay)
    assert found is not None
    outcome, sealed, session_id = found.pop("outcome"), found.pop("successor"), found.pop("session_id")
    if outcome == "too_many":
        raise TooManyRefreshes(retry_after=60)
    if outcome != "ok":
        raise _invalid(outcome, session_id, found)
    return started(session_id, token.unseal(bytes(sealed)), Person(**found))


def _invalid(outcome: str, session_id: UUID | None, person: Mapping[str, Any]) -> RefreshTokenInvalid:
    refusal = RefreshTokenInvalid()
    refusal.is_audited = outcome != "reused"  # app.refresh_session has
    if session_id is not None:
        metadata = {"brand_id": person["brand_id"] and str(person["brand_id"]), "user_role": person["role"]}
        refusal.claims = {"sub": str(person["id"]), "session_id": str(session_id), "app_metadata": metadata}
    return refusal


def list_own(limit: int, after: tuple[datetime, UUID] | None = None) -> list[SessionSummary]:
    """The caller's own sessions that live, newest first.

    Args:
        limit: how many at most.
        after: `created_at` and `id` of the one that they come behind.
    """
    return [
        SessionSummary(**found)
        for found in rows("SELECT * FROM app.own_sessions(%s, %s, %s)", (*(after or (None, None)), limit))
    ]


def end(scope: Scope = "this") -> int:
    """End the caller's own sessions: this one, all but this one, or all; how many. Their tokens are refused then."""
    ended: int = value("SELECT app.end_own_sessions(%s)", (scope,))
    return ended


def end_one(session_id: UUID) -> None:
    """End one of the caller's own sessions.

    Raises:
        NotFound: it is none of theirs, or over.
    """
    execute("SELECT app.end_session(%s)", (session_id,))


def lifetimes() -> tuple[timedelta, timedelta]:
    """Return how long a session lasts unless it is refreshed, and how long in any case."""
    return timedelta(days=settings.session_idle_days), timedelta(days=settings.session_days)


def access_token(session_id: UUID, person: Person) -> str:
    """What acts in a session, for as long as `tokens.LIFETIME` says."""
    return access_tokens.issue(
        user_id=person.id,
        session_id=session_id,
        user_role=person.role,
        brand_id=person.brand_id,
        email=person.email,
        is_anonymous=person.is_anonymous,
        aal=person.aal,
        mfa_pending=person.mfa_required is not None,
    )


def started(session_id: UUID, refresh_token: RefreshToken, person: Person) -> Session:
    """Return a session that SQL has begun or refreshed, with its tokens."""
    return Session(session_id, access_token(session_id, person), refresh_token.text, person)
