"""The second factor: enrolling an authenticator, showing its codes, and the codes for the day that it is lost."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from models.audit import trail
from models.core import keys
from models.core.context import Identity
from models.core.database import after_commit, execute, new_id, row, transaction
from models.core.errors import Conflict, Forbidden, TooMany
from models.identity import accounts, sessions, totp
from models.identity.sessions import Person
from models.jobs.ledger import notify_relay

WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS = 5
"""Codes that may be tried within `WINDOW` by whoever knows the password."""

RECOVERY_CODES = 10
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # nothing that looks like something else
_LETTERS = 12  # 60 bits


VERIFY = "session.verify"
"""The action that an entry records when a session shows the second factor."""


class InvalidCode(Forbidden):
    """It is none of the present codes, or has been used. (401 would say that the session is not good.)"""

    code = "invalid_code"


class NotEnrolled(Conflict):
    """There is no authenticator."""

    code = "mfa_not_enrolled"


class Mandatory(Conflict):
    """The role or the brand asks for an authenticator."""

    code = "mfa_mandatory"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What goes into the authenticator app; shown once."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class MfaStatus:
    """Since when there is an authenticator, if there is one, how many recovery codes are left, and from when on the
    person's role or brand asks for one, if it does.
    """

    confirmed_at: datetime | None
    recovery_codes_left: int
    required_from: datetime | None


@dataclass(frozen=True, slots=True)
class ElevatedSession:
    """A session that has shown the second factor, and the token that acts in it now."""

    access_token: str
    person: Person


def status() -> MfaStatus:
    """The caller's."""
    found = row("SELECT * FROM app.mfa_status()")
    assert found is not None
    return MfaStatus(**found)


def enrol(identity: Identity, label: str) -> Enrolment:
    """Make an authenticator for the caller. It counts once a code of it has been shown (`confirm`).

    Args:
        identity: the caller.
        label: what the app shows beside its codes.

    Raises:
        Forbidden: an anonymous fan has no first factor.
        MfaRequired: there is an authenticator, and the session has not shown a code of it.
    """
    secret = totp.new_secret()
    sealed = totp.seal(secret, _user(identity))
    execute("SELECT app.enrol_totp(%s, %s, %s)", (new_id(), sealed.secret, sealed.key_version))
    return Enrolment(secret, totp.uri(secret, label))


def confirm(identity: Identity, code: str) -> tuple[ElevatedSession, list[str]]:
    """Make the authenticator that has been enrolled the caller's, and end their other sessions.

    Opens its own transactions, as `verify` does.

    Returns:
        The session, and the recovery codes; they are shown once.

    Raises:
        InvalidCode: the code is none of it, or nothing has been enrolled.
        TooMany: too many attempts; says in how many seconds the next one is.
    """
    codes = _new_recovery_codes()
    hashes = [_hash(identity, code) for code in codes]

    def take(factor: dict[str, Any], step: int) -> dict[str, Any] | None:
        after_commit(notify_relay)
        return row(
            "SELECT * FROM app.confirm_totp(%s, %s, %s, %s, %s)",
            (factor["id"], step, hashes, _key(identity), accounts.request_origin()),
        )

    record = partial(trail.record, "mfa.confirm", table="users", record_id=identity.user_id)
    return _show(identity, code, take, record, confirmed=False), codes


def verify(identity: Identity, code: str, action: str = VERIFY) -> ElevatedSession:
    """Take a code of the caller's authenticator, once; the session may do everything from then on.

    Opens its own transactions: an attempt counts, however it ends. `action` names the audit entry of the success.

    Raises:
        InvalidCode: the code is wrong or has been used.
        TooMany: too many attempts; has the seconds until the next attempt.
    """

    def take(factor: dict[str, Any], step: int) -> dict[str, Any] | None:
        sealed = _with_present_key(identity, factor)
        return row(
            "SELECT * FROM app.use_totp_code(%s, %s, %s, %s, %s)",
            (factor["id"], step, sealed and sealed.secret, sealed and sealed.key_version, _key(identity)),
        )

    return _show(identity, code, take, partial(_record_shown, identity, action, recovery=False), confirmed=True)


def recover(identity: Identity, recovery_code: str) -> ElevatedSession:
    """Take a recovery code in place of the authenticator's; each is good once.

    Raises:
        InvalidCode: it is none, or has been used.
        TooMany: too many attempts; says in how many seconds the next one is.
    """
    _begin(identity, confirmed=True)
    hashes = [_hash(identity, recovery_code, version) for version in keys.versions()]
    with transaction(identity):
        found = row(
            "SELECT * FROM app.use_recovery_code(%s, %s, %s)", (hashes, _key(identity), accounts.request_origin())
        )
        if found:
            _record_shown(identity, VERIFY, recovery=True)
        after_commit(notify_relay)
    if found is None:
        raise InvalidCode
    return _raised(identity, found)


def replace_recovery_codes(identity: Identity) -> list[str]:
    """Other recovery codes than before; they are shown once.

    Raises:
        NotEnrolled: there is no authenticator.
    """
    codes = _new_recovery_codes()
    hashes = [_hash(identity, code) for code in codes]
    execute("SELECT app.replace_recovery_codes(%s, %s)", (hashes, accounts.request_origin()))
    after_commit(notify_relay)
    return codes


def remove() -> None:
    """Take the caller's authenticator and recovery codes away.

    Raises:
        Mandatory: a system admin has to have one, and a member of a brand that demands it.
        NotEnrolled: there is none.
    """
    execute("SELECT app.remove_totp(%s)", (accounts.request_origin(),))
    after_commit(notify_relay)


def reset(user_id: UUID) -> None:
    """Take somebody's authenticator and recovery codes away, who has lost both, and end their sessions; for admins.

    Raises:
        NotFound: there is no such account.
        OwnAccount: it is the caller's.
        NotEnrolled: there is none.
    """
    execute("SELECT app.reset_mfa(%s, %s)", (user_id, accounts.request_origin()))
    after_commit(notify_relay)


def _show(
    identity: Identity,
    code: str,
    take: Callable[[dict[str, Any], int], dict[str, Any] | None],
    record: Callable[[], None],
    *,
    confirmed: bool,
) -> ElevatedSession:
    factor = _begin(identity, confirmed=confirmed)
    if factor["id"] is not None:
        step = totp.step_of(totp.unseal(_sealed(factor), _user(identity)), _plain(code))
        if step is not None:
            with transaction(identity):
                if found := take(factor, step):
                    record()
                    return _raised(identity, found)
    raise InvalidCode


def _record_shown(identity: Identity, action: str, *, recovery: bool) -> None:
    trail.record(action, table="sessions", record_id=identity.session_id, after={"recovery": recovery})


def _begin(identity: Identity, *, confirmed: bool) -> dict[str, Any]:
    with transaction(identity):
        found = row(
            "SELECT * FROM app.begin_mfa_attempt(%s, %s, %s, %s, %s)",
            (confirmed, _key(identity), MAX_ATTEMPTS, WINDOW, accounts.request_origin()),
        )
        after_commit(notify_relay)
    assert found is not None
    if found["retry_after"]:
        raise TooMany("Too many attempts.", retry_after=found["retry_after"])
    return found


def _raised(identity: Identity, found: dict[str, Any]) -> ElevatedSession:
    person = Person(**found)
    assert identity.session_id is not None
    return ElevatedSession(sessions.access_token(identity.session_id, person), person)


def _sealed(factor: dict[str, Any]) -> totp.Sealed:
    return totp.Sealed(bytes(factor["secret"]), factor["key_version"])


def _with_present_key(identity: Identity, factor: dict[str, Any]) -> totp.Sealed | None:
    """The secret as it should be stored by now, if it isn't."""
    if factor["key_version"] == keys.active_version():
        return None
    return totp.seal(totp.unseal(_sealed(factor), _user(identity)), _user(identity))


def _new_recovery_codes() -> list[str]:
    letters = ["".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(RECOVERY_CODES)]
    return ["-".join(text[i : i + 4] for i in range(0, _LETTERS, 4)) for text in letters]


def _plain(code: str) -> str:
    """Remove the blanks and hyphens that apps show within a code, and that people type."""
    return "".join(code.split()).replace("-", "")


def _hash(identity: Identity, recovery_code: str, version: int | None = None) -> bytes:
    plain = _plain(recovery_code).upper()
    return keys.keyed_hash("recovery-code", _user(identity).bytes, plain.encode(), version=version)


def _key(identity: Identity) -> bytes:
    return keys.keyed_hash("mfa", _user(identity).bytes)


def _user(identity: Identity) -> UUID:
    assert identity.user_id is not None
    return identity.user_id
