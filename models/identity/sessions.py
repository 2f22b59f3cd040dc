"""Sessions: sign in, refresh, list and end them.

Each transaction of a request checks that the session of its access token is live (`app.require_session`).
"""

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
"""Period after its first use in which a refresh token returns the same successor, even if that has been used."""

MAX_REFRESHES_PER_HOUR = 60
"""Maximum number of refreshes of one session within an hour. An access token is valid for an hour."""

WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS_PER_NETWORK = 10
"""Maximum number of attempts to sign in to one account from one network within `WINDOW`."""
MAX_ATTEMPTS_PER_ACCOUNT = 100
"""Maximum number of attempts within `WINDOW` for one account, from networks without a session in the last 30 days."""


class InvalidCredentials(Unauthenticated):
    """No account has this address and password. The response does not show which of them is wrong."""

    code = "invalid_credentials"
    is_audited = False  # app.record_failed_sign_in has, with the account that was meant


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown or used, or its session has ended."""

    code = "refresh_token_invalid"


class TooManyRefreshes(TooMany):
    """The session was refreshed more often than an hour allows."""

    code = "too_many_refreshes"


@dataclass(frozen=True, slots=True)
class Person:
    """The person of a session."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    role: str
    brand_id: UUID | None
    is_anonymous: bool
    aal: str = "aal1"
    mfa_required: MfaStep | None = None
    """Step that the session must complete before any other request."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has just begun or been refreshed, with its tokens."""

    id: UUID
    access_token: str
    refresh_token: str
    person: Person


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A live session in the list of its person."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    authenticated_at: datetime | None
    expires_at: datetime
    address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Account and counter keys of an attempt to sign in. Without an account, `user_id` and `password_hash` are None."""

    user_id: UUID | None
    password_hash: str | None
    account_key: bytes
    network_key: bytes


def sign_in(email: str, password: str, network: str) -> Session:
    """Begin a session for the account with this address and password.

    Opens its own transactions. None is open while the password is hashed.

    Args:
        email: the address, normalised.
        password: the password as typed.
        network: the caller's IPv4 address or IPv6 network (/64), which stands for one customer of a provider.

    Raises:
        InvalidCredentials: no such account, an unverified or suspended one, or a wrong password.
        TooMany: too many attempts for this account; `retry_after` has the seconds until the next attempt.
    """
    with transaction(context.unauthenticated().on_credentials()):
        attempt, retry_after = _begin_sign_in(email, network)
    if retry_after:
        raise TooMany("Too many attempts to sign in to this account.", retry_after=retry_after)
    if passwords.verify(attempt.password_hash, password):
        new_hash = passwords.hash(password) if passwords.needs_rehash(attempt.password_hash or "") else None
        with transaction(context.unauthenticated().on_credentials()):
            if session := _start_session(attempt, new_hash):
                return session
    with transaction(context.unauthenticated().on_credentials()):
        execute(
            "SELECT app.record_failed_sign_in(%s, %s, %s)",
            (attempt.user_id, attempt.account_key, accounts.request_origin()),
        )
        after_commit(notify_relay)
    raise InvalidCredentials


def _begin_sign_in(email: str, network: str) -> tuple[_Attempt, int]:
    account_key = emails.fingerprint(email)
    network_key = keys.keyed_hash("sign-in", account_key, network.encode())
    found = row(
        "SELECT user_id, password_hash, retry_after FROM app.begin_sign_in(%s, %s, %s, %s, %s, %s, %s)",
        (email, network_key, account_key, MAX_ATTEMPTS_PER_NETWORK, MAX_ATTEMPTS_PER_ACCOUNT, WINDOW, network),
    )
    assert found is not None
    return _Attempt(found["user_id"], found["password_hash"], account_key, network_key), found["retry_after"]


def _start_session(attempt: _Attempt, new_hash: str | None) -> Session | None:
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
            attempt.network_key,
            attempt.account_key,
            accounts.request_origin(),
        ),
    )
    after_commit(notify_relay)
    return started(session_id, refresh_token, Person(**found)) if found else None


def sign_in_anonymously(locale: str = "en") -> Session:
    """Create an anonymous fan and a session of the fan."""
    session_id, user_id, refresh_token = new_id(), new_id(), refresh_tokens.new()
    execute(
        "SELECT app.sign_in_anonymously(%s, %s, %s, %s, %s, %s, %s)",
        (session_id, user_id, locale, *lifetimes(), refresh_token.hash, accounts.request_origin()),
    )
    person = Person(user_id, None, None, locale, context.FAN, None, is_anonymous=True)
    return started(session_id, refresh_token, person)


def refresh(text: str) -> Session:
    """Refresh a session: return a new access token, with the person's present role, and a new refresh token.

    A refresh token is valid once. It returns the same successor within `REUSE_GRACE` (two tabs) and while the successor
    is unused (a lost response). Otherwise two clients have the token, and the session is revoked. Opens its own
    transaction.

    Raises:
        RefreshTokenInvalid: the token is unknown or was used twice, or its session has ended.
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
    """Return the caller's live sessions, newest first.

    Args:
        limit: maximum number of sessions.
        after: `created_at` and `id` of the last session of the page before.
    """
    return [
        SessionSummary(**found)
        for found in rows("SELECT * FROM app.own_sessions(%s, %s, %s)", (*(after or (None, None)), limit))
    ]


def end(scope: Scope = "this") -> int:
    """End the caller's sessions: this one, the others or all. Return their number."""
    ended: int = value("SELECT app.end_own_sessions(%s)", (scope,))
    return ended


def end_one(session_id: UUID) -> None:
    """End one of the caller's sessions.

    Raises:
        NotFound: the caller has no such live session.
    """
    execute("SELECT app.end_session(%s)", (session_id,))


def lifetimes() -> tuple[timedelta, timedelta]:
    """Return the period until a session without refreshes expires, and the period until each session expires."""
    return timedelta(days=settings.session_idle_days), timedelta(days=settings.session_days)


def access_token(session_id: UUID, person: Person) -> str:
    """Issue an access token of a session."""
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
