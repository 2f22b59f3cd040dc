"""Creation of the first system admin by a script, as the owner of the database."""

from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection

from models.core import emails
from models.core.context import SYSTEM_ADMIN
from models.core.database import new_id
from models.identity import accounts, passwords, totp
from settings import settings


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
    cursor.execute("UPDATE app.sessions SET revoked_at = now() WHERE user_id = %s", (user_id,))
    return ["password"]


def _record_ensured(cursor: Any, user_id: UUID, address: str, done: list[str]) -> None:
    # There is no session: the operator of the system runs the command.
    details = {"after": {"role": SYSTEM_ADMIN, "email": accounts.protect("email", address), "made": done}}
    cursor.execute(
        "SELECT app.add_account_audit('account.ensure_admin', %s, %s, '{}', 'ok', 'by the operator of the system')",
        (user_id, details),
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
