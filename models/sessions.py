"""Sessions: signing in and out. What a token may do is decided by its session, and that is here and revocable."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from models import accounts, context, emails, keys, passwords, tokens
from models.db import after_commit, execute, new_id, row, transaction
from models.errors import TooMany, Unauthenticated
from models.jobs import ring

LIFETIME = timedelta(days=30)

WINDOW = timedelta(minutes=15)
MOST_HERE = 10
"""Attempts to sign in to one account from one network within `WINDOW`."""
MOST_EVERYWHERE = 100
"""Attempts to sign in to one account within `WINDOW`, from networks that it has not been used from lately."""


class InvalidCredentials(Unauthenticated):
    """The address and the password are not those of an account; it isn't said which of them is wrong."""

    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong"


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


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has just begun, and the token that acts in it."""

    id: UUID
    access_token: str
    person: Person


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
    with transaction(context.nobody()):
        attempt, retry_after = _begin(email, network)
    if retry_after:
        raise TooMany("Too many attempts to sign in to this account.", retry_after=retry_after)
    if passwords.verify(attempt.password_hash, password):
        new_hash = passwords.hash(password) if passwords.needs_rehash(attempt.password_hash or "") else None
        with transaction(context.nobody()):
            if session := _start(attempt, new_hash):
                return session
    with transaction(context.nobody()):
        execute("SELECT app.fail_sign_in(%s, %s, %s)", (attempt.user_id, attempt.account, accounts.origin()))
        after_commit(ring)
    raise InvalidCredentials


def _begin(email: str, network: str) -> tuple[_Attempt, int]:
    account = emails.fingerprint(email)
    here = keys.keyed_hash("sign-in", account, network.encode())
    found = row(
        "SELECT user_id, password_hash, retry_after FROM app.begin_sign_in(%s, %s, %s, %s, %s, %s, %s)",
        (email, here, account, MOST_HERE, MOST_EVERYWHERE, WINDOW, context.request_info().address),
    )
    assert found is not None
    return _Attempt(found["user_id"], found["password_hash"], account, here), found["retry_after"]


def _start(attempt: _Attempt, new_hash: str | None) -> Session | None:
    session_id = new_id()
    found = row(
        "SELECT id, email, name, locale, role, brand_id, is_anonymous FROM app.sign_in(%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            session_id,
            attempt.user_id,
            attempt.password_hash,
            new_hash,
            LIFETIME,
            attempt.here,
            attempt.account,
            accounts.origin(),
        ),
    )
    after_commit(ring)
    return _session(session_id, Person(**found)) if found else None


def sign_in_anonymously(locale: str = "en") -> Session:
    """Make a fan without an account, and their session."""
    session_id, user_id = new_id(), new_id()
    execute(
        "SELECT app.sign_in_anonymously(%s, %s, %s, %s, %s)",
        (session_id, user_id, locale, LIFETIME, accounts.origin()),
    )
    return _session(session_id, Person(user_id, None, None, locale, context.FAN, None, is_anonymous=True))


def sign_out() -> None:
    """End the caller's session; its token is worth nothing from then on."""
    execute("SELECT app.sign_out()")


def _session(session_id: UUID, person: Person) -> Session:
    token = tokens.issue(
        user_id=person.id,
        session_id=session_id,
        user_role=person.role,
        brand_id=person.brand_id,
        email=person.email,
        is_anonymous=person.is_anonymous,
    )
    return Session(session_id, token, person)
