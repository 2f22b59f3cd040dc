"""MFA: enrolment of an authenticator, verification of its codes, and recovery codes for a lost authenticator."""

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
"""Maximum number of codes that one account may try within `WINDOW`."""

RECOVERY_CODES = 10
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no characters that look alike
_LETTERS = 12  # 60 bits


VERIFY = "session.verify"
"""Audit action of a session that has completed MFA."""


class InvalidCode(Forbidden):
    """The code is wrong, expired or already used. The status is 403: 401 would mean that the session is not valid."""

    code = "invalid_code"


class NotEnrolled(Conflict):
    """The account has no authenticator."""

    code = "mfa_not_enrolled"


class Mandatory(Conflict):
    """The role or the brand requires an authenticator."""

    code = "mfa_mandatory"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Secret of a new authenticator, as text and as URI of a QR code. It is returned once."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class MfaStatus:
    """MFA of an account.

    Attributes:
        confirmed_at: time when the authenticator was confirmed; None without one.
        recovery_codes_left: number of unused recovery codes.
        required_from: time from which the role or brand requires an authenticator; None if it does not.
    """

    confirmed_at: datetime | None
    recovery_codes_left: int
    required_from: datetime | None


@dataclass(frozen=True, slots=True)
class ElevatedSession:
    """A session that has completed MFA (aal2): its new access token and its person."""

    access_token: str
    person: Person


def status() -> MfaStatus:
    """Return the MFA status of the caller."""
    found = row("SELECT * FROM app.mfa_status()")
    assert found is not None
    return MfaStatus(**found)


def enrol(identity: Identity, label: str) -> Enrolment:
    """Create an authenticator for the caller. It has no effect until `confirm` has verified a code of it.

    Args:
        identity: the caller.
        label: text that the app displays beside its codes.

    Raises:
        Forbidden: the caller is an anonymous fan, who has no password.
        MfaRequired: there is an authenticator already, and no code of it was verified in this session.
    """
    secret = totp.new_secret()
    encrypted = totp.encrypt(secret, _user(identity))
    execute("SELECT app.enrol_totp(%s, %s, %s)", (new_id(), encrypted.secret, encrypted.key_version))
    return Enrolment(secret, totp.uri(secret, label))


def confirm(identity: Identity, code: str) -> tuple[ElevatedSession, list[str]]:
    """Confirm the caller's new authenticator with a code of it, and end the caller's other sessions.

    Opens its own transactions: an attempt counts, whether or not it succeeds.

    Returns:
        The session, and the recovery codes. They are returned once.

    Raises:
        InvalidCode: the code is wrong, or no authenticator was enrolled.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """
    codes = _new_recovery_codes()
    hashes = [_hash(identity, code) for code in codes]

    def use(factor: dict[str, Any], step: int) -> dict[str, Any] | None:
        after_commit(notify_relay)
        return row(
            "SELECT * FROM app.confirm_totp(%s, %s, %s, %s, %s)",
            (factor["id"], step, hashes, _key(identity), accounts.request_origin()),
        )

    record = partial(trail.record, "mfa.confirm", table="users", record_id=identity.user_id)
    return _verify_code(identity, code, use, record, confirmed=False), codes


def verify(identity: Identity, code: str, action: str = VERIFY) -> ElevatedSession:
    """Verify a code of the caller's authenticator and raise the session to aal2. A code is valid once.

    Opens its own transactions: an attempt counts, whether or not it succeeds. `action` names the audit entry of a
    success.

    Raises:
        InvalidCode: the code is wrong or has been used.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """

    def use(factor: dict[str, Any], step: int) -> dict[str, Any] | None:
        encrypted = _reencrypted(identity, factor)
        return row(
            "SELECT * FROM app.use_totp_code(%s, %s, %s, %s, %s)",
            (factor["id"], step, encrypted and encrypted.secret, encrypted and encrypted.key_version, _key(identity)),
        )

    return _verify_code(
        identity, code, use, partial(_record_verified, identity, action, recovery=False), confirmed=True
    )


def recover(identity: Identity, recovery_code: str) -> ElevatedSession:
    """Verify a recovery code in place of the authenticator's code, and raise the session to aal2. It is valid once.

    Raises:
        InvalidCode: the recovery code is wrong or has been used.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """
    _begin(identity, confirmed=True)
    hashes = [_hash(identity, recovery_code, version) for version in keys.versions()]
    with transaction(identity):
        found = row(
            "SELECT * FROM app.use_recovery_code(%s, %s, %s)", (hashes, _key(identity), accounts.request_origin())
        )
        if found:
            _record_verified(identity, VERIFY, recovery=True)
        after_commit(notify_relay)
    if found is None:
        raise InvalidCode
    return _elevated(identity, found)


def replace_recovery_codes(identity: Identity) -> list[str]:
    """Replace the caller's recovery codes and return the new ones. They are returned once.

    Raises:
        NotEnrolled: the caller has no authenticator.
    """
    codes = _new_recovery_codes()
    hashes = [_hash(identity, code) for code in codes]
    execute("SELECT app.replace_recovery_codes(%s, %s)", (hashes, accounts.request_origin()))
    after_commit(notify_relay)
    return codes


def remove() -> None:
    """Delete the caller's authenticator and recovery codes.

    Raises:
        Mandatory: the caller is a system admin, or a member of a brand that requires MFA.
        NotEnrolled: the caller has no authenticator.
    """
    execute("SELECT app.remove_totp(%s)", (accounts.request_origin(),))
    after_commit(notify_relay)


def reset(user_id: UUID) -> None:
    """Delete the authenticator and recovery codes of a user who has lost both, and end the user's sessions.

    Raises:
        NotFound: the account does not exist.
        OwnAccount: the account is the caller's.
        NotEnrolled: the account has no authenticator.
    """
    execute("SELECT app.reset_mfa(%s, %s)", (user_id, accounts.request_origin()))
    after_commit(notify_relay)


def _verify_code(
    identity: Identity,
    code: str,
    use: Callable[[dict[str, Any], int], dict[str, Any] | None],
    record: Callable[[], None],
    *,
    confirmed: bool,
) -> ElevatedSession:
    factor = _begin(identity, confirmed=confirmed)
    if factor["id"] is not None:
        step = totp.step_of(totp.decrypt(_stored_secret(factor), _user(identity)), _plain(code))
        if step is not None:
            with transaction(identity):
                if found := use(factor, step):
                    record()
                    return _elevated(identity, found)
    raise InvalidCode


def _record_verified(identity: Identity, action: str, *, recovery: bool) -> None:
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


def _elevated(identity: Identity, found: dict[str, Any]) -> ElevatedSession:
    person = Person(**found)
    assert identity.session_id is not None
    return ElevatedSession(sessions.access_token(identity.session_id, person), person)


def _stored_secret(factor: dict[str, Any]) -> totp.EncryptedSecret:
    return totp.EncryptedSecret(bytes(factor["secret"]), factor["key_version"])


def _reencrypted(identity: Identity, factor: dict[str, Any]) -> totp.EncryptedSecret | None:
    """Return the secret encrypted with the active key; None if it is already."""
    if factor["key_version"] == keys.active_version():
        return None
    return totp.encrypt(totp.decrypt(_stored_secret(factor), _user(identity)), _user(identity))


def _new_recovery_codes() -> list[str]:
    letters = ["".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(RECOVERY_CODES)]
    return ["-".join(text[i : i + 4] for i in range(0, _LETTERS, 4)) for text in letters]


def _plain(code: str) -> str:
    """Remove the blanks and hyphens within a code: apps display them and people type them."""
    return "".join(code.split()).replace("-", "")


def _hash(identity: Identity, recovery_code: str, version: int | None = None) -> bytes:
    plain = _plain(recovery_code).upper()
    return keys.keyed_hash("recovery-code", _user(identity).bytes, plain.encode(), version=version)


def _key(identity: Identity) -> bytes:
    return keys.keyed_hash("mfa", _user(identity).bytes)


def _user(identity: Identity) -> UUID:
    assert identity.user_id is not None
    return identity.user_id
