"""Accounts: how somebody gets one, and what it says about them."""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import peewee
import psycopg2
from playhouse.postgres_ext import DateTimeTZField
from psycopg2.extensions import connection

from models.consents import consents
from models.core import context, emails, keys, timezones
from models.core.context import SYSTEM_ADMIN
from models.core.database import Row, execute, new_id, row, value
from models.core.errors import Conflict, Forbidden
from models.identity import passwords, totp
from settings import settings

SIGNUP_LIFETIME = timedelta(hours=24)
"""How long the link of a sign-up is valid once the mail server has accepted it."""

KEEP_SESSIONS = timedelta(days=90)
"""How long a session that is over is kept, for whoever asks where an account was used."""
KEEP_USED_TOKENS = timedelta(days=settings.session_idle_days)
"""How long a used refresh token is known. A thief who uses one first is noticed when its owner comes with it; later,
the owner's own session would have been over."""
KEEP_INVITATIONS = timedelta(days=90)

KEEP_IDLE_ANONYMOUS = timedelta(days=1)
"""How long an idle anonymous person without scans or consents is kept after the last sign-in or refresh."""

_KEPT = {
    "anonymous_people": KEEP_IDLE_ANONYMOUS,
    "signups": timedelta(),
    "sessions": KEEP_SESSIONS,
    "refresh_tokens": KEEP_USED_TOKENS,
    "invitations": KEEP_INVITATIONS,
    "password_resets": timedelta(),
    "email_changes": timedelta(),
    "authenticators": SIGNUP_LIFETIME,
    "sign_in_attempts": timedelta(),
}
"""Kinds of rows that `delete_expired` deletes, and how long each is kept once it has expired."""

SIGNUP = "signup"
"""Purpose of the link of a sign-up."""

_PROTECTED = ("email", "name", "phone")


class EmailInUse(Conflict):
    """The address belongs to an account; only told to those who own it or may see accounts."""

    code = "email_in_use"


class User(Row):
    """A person, anonymous or not. Only the functions that sign people in read or write the hash."""

    id = peewee.UUIDField(primary_key=True)
    email = peewee.TextField(null=True)
    password_hash = peewee.TextField(null=True)
    role_id = peewee.IntegerField()
    brand_id = peewee.UUIDField(null=True)
    name = peewee.TextField(null=True)
    locale = peewee.TextField()
    timezone = peewee.TextField()
    phone = peewee.TextField(null=True)
    is_anonymous = peewee.BooleanField()
    identity_provider = peewee.TextField(null=True)
    email_verified_at = DateTimeTZField(null=True)
    suspended_at = DateTimeTZField(null=True)
    sessions_since = DateTimeTZField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Where it lives."""

        table_name = "users"


_PROFILE = (
    *(User.id, User.email, User.name, User.locale, User.timezone, User.phone),
    *(User.brand_id, User.is_anonymous, User.created_at, User.updated_at),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What an account says about a person, to that person."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    timezone: str
    phone: str | None
    role: str
    brand_id: UUID | None
    is_anonymous: bool
    created_at: datetime
    updated_at: datetime
    consent_tiers: list[str]

    def protected(self) -> dict[str, Any]:
        """What of it a person can change, for the audit trail: what identifies the person only as a keyed hash."""
        fields = ("name", "locale", "timezone", "phone", "consent_tiers")
        return {field: protect(field, getattr(self, field)) for field in fields}


def protect(field: str, content: Any) -> Any:
    """A value as the audit trail may show it: comparable, but unreadable where it would identify a person."""
    if field not in _PROTECTED or content is None:
        return content
    return f"hmac:{keys.keyed_hash('audit-value', field.encode(), str(content).encode()).hex()[:32]}"


def request_origin() -> str:
    """Where the request in hand comes from, as JSON for the functions that act before identity."""
    return json.dumps(asdict(context.request_info()))


def mail_counter(purpose: str, whose: str) -> bytes:
    """Return the key under which mails of a purpose are counted, for an address or for a person's id."""
    return keys.keyed_hash("mails", purpose.encode(), emails.fingerprint(whose))


def own_profile() -> Profile:
    """The caller's own profile."""
    identity = context.current()
    assert identity is not None
    found = User.select(*_PROFILE).where(User.id == identity.user_id).dicts().first()
    if found is None:
        raise Forbidden
    return Profile(**found, role=identity.user_role or "", consent_tiers=consents.tiers_in_force())


def own_email_and_name() -> tuple[str | None, str | None]:
    """Return the caller's own address and name; for requests about credentials, which read no more of the profile."""
    identity = context.current()
    assert identity is not None
    found = User.select(User.email, User.name).where(User.id == identity.user_id).tuples().first()
    if found is None:
        raise Forbidden
    return found[0], found[1]


def get_own_profile_for_update() -> Profile:
    """The caller's own profile, which nobody else changes before this transaction ends."""
    identity = context.current()
    assert identity is not None
    execute("SELECT FROM public.users WHERE id = %s FOR NO KEY UPDATE", (identity.user_id,))
    return own_profile()


def update_own_profile(before: Profile, changes: Mapping[str, Any]) -> Profile:
    """Change the caller's own profile; how it is then.

    Args:
        before: how it was when it was locked.
        changes: any of `name`, `locale`, `timezone`, `phone` and `consent_tiers`. The tiers are those that shall be
            in force for every brand: what is missing is granted under the default notice, any other is revoked.

    Raises:
        Invalid: there is no such time zone.
    """
    fields = dict(changes)
    tiers = fields.pop("consent_tiers", None)
    if "timezone" in fields:
        timezones.require(fields["timezone"])
    if fields:
        # The clock's time, so that two changes in one transaction are two versions.
        User.update(**fields, updated_at=peewee.fn.clock_timestamp()).where(User.id == before.id).execute()
    if tiers is not None:
        consents.set_tiers(tiers, source="profile")
    return own_profile()


def delete_expired() -> dict[str, int]:
    """Delete expired sign-ups, sessions, links and counters, and idle anonymous people who took part in nothing.

    Returns:
        Number of deleted rows, by kind.
    """
    return {kind: value("SELECT app.delete_expired(%s, %s)", (kind, keep)) for kind, keep in _KEPT.items()}


def signup_mail(signup_id: UUID) -> dict[str, Any] | None:
    """What the mail to somebody who signs up needs: `email`, `locale`; None if it is verified or too old by now."""
    return row("SELECT * FROM app.signup_mail(%s)", (signup_id,))


def mail_recipient(user_id: UUID) -> dict[str, Any] | None:
    """Who is written to about an account: `email`, `locale`; None if there is nobody any more. For system jobs."""
    return row("SELECT * FROM app.account_mail(%s)", (user_id,))


def ensure_system_admin(email: str, password: str, totp_secret: str | None = None) -> UUID:
    """Make the system admin with this address, or give the one there is this password; runs as the owner.

    For bring-up: nobody can be invited before there is one. Sessions end if the password is a new one.

    Args:
        email: the address.
        password: what to sign in with.
        totp_secret: that of the authenticator to enrol for them (`totp.new_secret`), if there is none; without one,
            whoever signs in first enrols theirs.

    Raises:
        EmailInUse: the address belongs to somebody in another role.
        Invalid: no such address, or no such password, may be used.
    """
    with closing(psycopg2.connect(settings.database_direct_url)) as opened:
        return ensure_system_admin_through(opened, email, password, totp_secret)


def ensure_system_admin_through(owners: connection, email: str, password: str, totp_secret: str | None = None) -> UUID:
    """`ensure_system_admin` through a connection of the owner's, in a transaction of its own."""
    address = emails.normalise(email)
    passwords.require_good(password, address)
    with owners, owners.cursor() as cursor:
        cursor.execute(
            "SELECT u.id, u.password_hash, r.name FROM public.users u JOIN public.roles r ON r.id = u.role_id"
            " WHERE u.email = %s FOR UPDATE OF u",
            (address,),
        )
        found = cursor.fetchone()
        done = []
        if found is None:
            user_id = _insert_system_admin(cursor, address, password)
            done = ["account", "password"]
        else:
            user_id, password_hash, role = found
            if role != SYSTEM_ADMIN:
                raise EmailInUse
            if not passwords.verify(password_hash, password):
                cursor.execute(
                    "UPDATE public.users SET password_hash = %s WHERE id = %s", (passwords.hash(password), user_id)
                )
                cursor.execute("UPDATE app.sessions SET revoked_at = now() WHERE user_id = %s", (user_id,))
                done = ["password"]
        if totp_secret and _enrol_unless_enrolled(cursor, user_id, totp_secret):
            done.append("authenticator")
        if done:
            _record_ensured(cursor, user_id, address, done)
        return UUID(str(user_id))


def _record_ensured(cursor: Any, user_id: UUID, address: str, done: list[str]) -> None:
    """Nobody is signed in who does this: whoever runs the system does, and it is about the account."""
    details = {"after": {"role": SYSTEM_ADMIN, "email": protect("email", address), "made": done}}
    cursor.execute(
        "SELECT app.add_account_audit('account.ensure_admin', %s, %s, '{}', 'ok', 'by whoever runs the system')",
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
