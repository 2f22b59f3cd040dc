"""Manage system admins as the owner of the database, for `./scripts/admin`.

The API can't create the first admin, set the password of an admin by mail, or reset MFA of the last admin. The audit
trail names the operator in each entry.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection

from models.core import emails
from models.core.context import SYSTEM_ADMIN
from models.core.database import new_id
from models.core.errors import NotFound
from models.core.messages import Message
from models.identity import accounts, passwords, totp
from models.identity.mfa import NotEnrolled
from settings import settings

OPERATOR = "by the operator of the system"


@dataclass(frozen=True, slots=True)
class SystemAdmin:
    """A system admin. `has_mfa`: an authenticator is enrolled."""

    id: UUID
    email: str
    suspended: bool
    has_mfa: bool


def system_admins() -> list[SystemAdmin]:
    """Return all system admins by address."""
    with _as_owner() as cursor:
        return _system_admins(cursor)


def find_system_admin(email: str) -> SystemAdmin | None:
    """Return the system admin with this address."""
    address = emails.normalise(email)
    return next((admin for admin in system_admins() if admin.email == address), None)


def reset_mfa(email: str, reason: str) -> None:
    """Delete the authenticator and recovery codes of a system admin, end the sessions, and notify the admin by mail.

    The next sign-in enrols another authenticator.

    Args:
        email: the address.
        reason: the reason, for the audit trail.

    Raises:
        NotFound: there is no system admin with this address.
        NotEnrolled: the account has no authenticator.
    """
    admin = find_system_admin(email)
    if admin is None:
        raise NotFound(Message("{email} is not a System Admin.", email=email))
    with _as_owner() as cursor:
        cursor.execute("DELETE FROM app.totp_factors WHERE user_id = %s", (admin.id,))
        if not cursor.rowcount:
            raise NotEnrolled("The account has no authenticator.")
        cursor.execute("DELETE FROM app.recovery_codes WHERE user_id = %s", (admin.id,))
        cursor.execute("SELECT app.reset_attempts(%s), app.end_sessions(%s)", (admin.id, admin.id))
        cursor.execute("SELECT app.notify_account(%s, 'mfa_disabled', '{}')", (admin.id,))
        cursor.execute(
            "SELECT app.add_account_audit('user.reset_mfa', %s, '{}', '{}', 'ok', %s)",
            (admin.id, f"{OPERATOR}: {reason}"),
        )


@contextmanager
def _as_owner() -> Iterator[Any]:
    with closing(psycopg2.connect(settings.database_direct_url)) as owner, owner, owner.cursor() as cursor:
        yield cursor


def _system_admins(cursor: Any) -> list[SystemAdmin]:
    cursor.execute(
        "SELECT u.id, u.email, u.suspended_at IS NOT NULL, EXISTS (SELECT FROM app.totp_factors f"
        " WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL)"
        " FROM public.users u JOIN public.roles r ON r.id = u.role_id WHERE r.name = %s ORDER BY u.email",
        (SYSTEM_ADMIN,),
    )
    return [SystemAdmin(UUID(str(id)), email, suspended, has_mfa) for id, email, suspended, has_mfa in cursor]


def ensure_system_admin(email: str, password: str, totp_secret: str | None = None) -> UUID:
    """Create the system admin with this address, or set the password of the present one. Return the user's id.

    Needed at set-up: an invitation requires an admin. Runs as the owner of the database. A changed password ends the
    sessions of the account.

    Args:
        email: the address.
        password: the password.
        totp_secret: secret of the authenticator (`totp.new_secret`), enrolled unless the account has one. Without it,
            the person enrols an authenticator at the first sign-in.

    Raises:
        EmailInUse: the address belongs to an account with another role.
        Invalid: the address or the password is not acceptable.
    """
    with closing(psycopg2.connect(settings.database_direct_url)) as opened:
        return ensure_system_admin_through(opened, email, password, totp_secret)


def ensure_system_admin_through(owner: connection, email: str, password: str, totp_secret: str | None = None) -> UUID:
    """Run `ensure_system_admin` through a connection of the database's owner, in its own transaction."""
    address = emails.normalise(email)
    passwords.require_good(password, address)
    with owner, owner.cursor() as cursor:
        cursor.execute(
            "SELECT u.id, u.password_hash, r.name FROM public.users u JOIN public.roles r ON r.id = u.role_id"
            " WHERE u.email = %s FOR UPDATE OF u",
            (address,),
        )
        found = cursor.fetchone()
        if found is None:
            user_id, done = _insert_system_admin(cursor, address, password), ["account", "password"]
        else:
            user_id, done = found[0], _update_system_admin(cursor, found, password)
        if totp_secret and _enrol_unless_enrolled(cursor, user_id, totp_secret):
            done.append("authenticator")
        if done:
            _record_ensured(cursor, user_id, address, done)
        return UUID(str(user_id))


def _update_system_admin(cursor: Any, found: tuple[UUID, str | None, str], password: str) -> list[str]:
    user_id, password_hash, role = found
    if role != SYSTEM_ADMIN:
        raise accounts.EmailInUse
    if passwords.verify(password_hash, password):
        return []
    cursor.execute("UPDATE public.users SET password_hash = %s WHERE id = %s", (passwords.hash(password), user_id))
    cursor.execute("SELECT app.end_sessions(%s), app.reset_attempts(%s)", (user_id, user_id))
    cursor.execute("SELECT app.notify_account(%s, 'password_changed', '{}')", (user_id,))
    return ["password"]


def _record_ensured(cursor: Any, user_id: UUID, address: str, done: list[str]) -> None:
    # There is no session: the operator of the system runs the command.
    details = {"after": {"role": SYSTEM_ADMIN, "email": accounts.protect("email", address), "made": done}}
    cursor.execute(
        "SELECT app.add_account_audit('account.ensure_admin', %s, %s, '{}', 'ok', %s)",
        (user_id, details, OPERATOR),
    )


def _enrol_unless_enrolled(cursor: Any, user_id: UUID, secret: str) -> bool:
    encrypted = totp.encrypt(secret, user_id)
    cursor.execute(
        "INSERT INTO app.totp_factors (id, user_id, secret, key_version, confirmed_at) VALUES (%s, %s, %s, %s, now())"
        " ON CONFLICT (user_id) WHERE confirmed_at IS NOT NULL DO NOTHING",
        (new_id(), user_id, encrypted.secret, encrypted.key_version),
    )
    return bool(cursor.rowcount)


def _insert_system_admin(cursor: Any, address: str, password: str) -> UUID:
    user_id = new_id()
    cursor.execute(
        "INSERT INTO public.users (id, email, password_hash, role_id, name, email_verified_at)"
        " SELECT %s, %s, %s, id, %s, now() FROM public.roles WHERE name = %s",
        (user_id, address, passwords.hash(password), "System Admin", SYSTEM_ADMIN),
    )
    return user_id
