"""Showing once more who one is: what grave acts ask of a session that has been open for a while."""

from datetime import timedelta

from models.audit import trail
from models.core import context, keys
from models.core.database import execute, row, transaction, value
from models.core.errors import Forbidden, TooMany
from models.identity import passwords

RECENT = timedelta(minutes=10)
"""How long whoever has shown a password or a code counts as having just done so."""

WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS = 10
"""Attempts to show a password or a code that one account has within `WINDOW`, from all of its sessions."""


class RecentAuthenticationRequired(Forbidden):
    """It has been a while since the person showed who they are, and this asks for more."""

    code = "recent_authentication_required"


class WrongPassword(Forbidden):
    """The session is good, and this is not the password of its account. (401 would say that the session is not.)"""

    code = "wrong_password"


def require_recent() -> None:
    """Refuse the caller's session unless its person has shown who they are within `RECENT`; anonymous fans can't.

    Raises:
        RecentAuthenticationRequired: they have not.
    """
    execute("SELECT app.require_recent(%s)", (RECENT,))


def with_password(identity: context.Identity, password: str) -> None:
    """Take the caller's password as a sign of who they are; good for `RECENT`.

    Opens its own transactions, none of which is open while the password is hashed.

    Raises:
        WrongPassword: it is another, or the account has none.
        TooMany: too many attempts; says in how many seconds the next one is.
    """
    stored = own_password(identity)
    if passwords.verify(stored, password):
        with transaction(identity):
            if value("SELECT app.step_up(%s, %s)", (key(identity), stored)):
                trail.record("session.step_up", table="sessions", record_id=identity.session_id)
                return
    raise WrongPassword


def own_password(identity: context.Identity) -> str:
    """The hash of the caller's own password, for one attempt to show it.

    Raises:
        WrongPassword: there is none. Nothing is hashed then: anybody may have any number of anonymous sessions.
        TooMany: there have been too many.
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
    """What attempts of one account are counted under."""
    assert identity.user_id is not None
    return keys.keyed_hash("step-up", identity.user_id.bytes)
