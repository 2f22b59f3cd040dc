"""Step-up: confirm the caller's identity again before a sensitive act."""

from datetime import timedelta

from models.audit import trail
from models.core import context, keys
from models.core.database import execute, row, transaction, value
from models.core.errors import Forbidden, TooMany
from models.identity import passwords

RECENT = timedelta(minutes=10)
"""Period after a verified password or code in which a session counts as recently authenticated."""

WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS = 10
"""Maximum number of passwords that one account may try within `WINDOW`, in all of its sessions together."""


class RecentAuthenticationRequired(Forbidden):
    """The act requires a password or code within the last ten minutes: call `POST /api/v1/auth/step-up`."""

    code = "recent_authentication_required"


class WrongPassword(Forbidden):
    """The password is wrong. The status is 403: 401 would mean that the session is not valid."""

    code = "wrong_password"


def require_recent() -> None:
    """Refuse the caller unless a password or code was verified in the session within `RECENT`. Anonymous fans pass.

    Raises:
        RecentAuthenticationRequired: no password or code was verified within `RECENT`.
    """
    execute("SELECT app.require_recent(%s)", (RECENT,))


def with_password(identity: context.Identity, password: str) -> None:
    """Verify the caller's password and mark the session as recently authenticated.

    Opens its own transactions. None is open while the password is hashed.

    Raises:
        WrongPassword: the password is wrong, or the account has none.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """
    stored = begin_attempt(identity)
    if passwords.verify(stored, password):
        with transaction(identity):
            if value("SELECT app.step_up(%s, %s)", (key(identity), stored)):
                trail.record("session.step_up", table="sessions", record_id=identity.session_id)
                return
    raise WrongPassword


def begin_attempt(identity: context.Identity) -> str:
    """Count an attempt to enter the caller's password. Return the stored hash of the password.

    Raises:
        WrongPassword: the account has no password. No hash is computed then: it would be costly, and any client can
            start any number of anonymous sessions.
        TooMany: too many attempts; `retry_after` has the seconds until the next attempt.
    """
    with transaction(identity):
        found = row("SELECT * FROM app.begin_step_up(%s, %s, %s)", (key(identity), MAX_ATTEMPTS, WINDOW))
    assert found is not None
    if found["retry_after"]:
        raise TooMany("Too many attempts.", retry_after=found["retry_after"])
    if found["password_hash"] is None:
        raise WrongPassword
    return str(found["password_hash"])


def key(identity: context.Identity) -> bytes:
    """Return the key of the counter of the caller's attempts."""
    assert identity.user_id is not None
    return keys.keyed_hash("step-up", identity.user_id.bytes)
