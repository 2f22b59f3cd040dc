"""The caller's profile, helpers of the functions that act on accounts, and deletion of expired rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import peewee

from models.consents import consents
from models.core import context, emails, keys, timezones
from models.core.database import execute, row, value
from models.core.errors import Conflict, Forbidden
from models.identity.users import User
from settings import settings

SIGNUP_LIFETIME = timedelta(hours=24)
"""Period in which the link of a sign-up is valid. It begins when the mail server accepts the mail."""

KEEP_SESSIONS = timedelta(days=90)
"""Period for which an ended session is kept, to answer where an account was used."""
KEEP_USED_TOKENS = timedelta(days=settings.session_idle_days)
"""Period for which a used refresh token is kept. Its second use reveals a theft. After this period the owner's session
would have expired anyway."""
KEEP_INVITATIONS = timedelta(days=90)

KEEP_IDLE_ANONYMOUS = timedelta(days=1)
"""Period for which an anonymous person without scans, consents and contacts is kept after the last refresh."""

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
"""Kinds of rows that `delete_expired` deletes, and the period for which expired ones are kept."""

SIGNUP = "signup"
"""Purpose of the link of a sign-up."""

_PROTECTED = ("email", "name", "phone")


class EmailInUse(Conflict):
    """An account has this address. Only its owner and callers who may read accounts get this error."""

    code = "email_in_use"


_PROFILE = (
    *(User.id, User.email, User.name, User.locale, User.timezone, User.phone),
    *(User.brand_id, User.is_anonymous, User.created_at, User.updated_at),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of the caller."""

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
        """Return the changeable fields for an audit entry; identifying values as keyed hashes."""
        fields = ("name", "locale", "timezone", "phone", "consent_tiers")
        return {field: protect(field, getattr(self, field)) for field in fields}


def protect(field: str, content: Any) -> Any:
    """Return a value for an audit entry: as a keyed hash if it identifies a person, unchanged otherwise."""
    if field not in _PROTECTED or content is None:
        return content
    return f"hmac:{keys.keyed_hash('audit-value', field.encode(), str(content).encode()).hex()[:32]}"


def request_origin() -> str:
    """Return the origin of the current request as JSON, for SQL functions without claims."""
    return json.dumps(asdict(context.request_info()))


def mail_counter(purpose: str, whose: str) -> bytes:
    """Return the key under which mails of a purpose are counted, for an address or for a person's id."""
    return keys.keyed_hash("mails", purpose.encode(), emails.fingerprint(whose))


def own_profile() -> Profile:
    """Return the caller's profile."""
    identity = context.current()
    assert identity is not None
    found = User.select(*_PROFILE).where(User.id == identity.user_id).dicts().first()
    if found is None:
        raise Forbidden("No account belongs to these credentials.")
    return Profile(**found, role=identity.user_role or "", consent_tiers=consents.tiers_in_force())


def own_email_and_name() -> tuple[str | None, str | None]:
    """Return the caller's own address and name; for requests about credentials, which read no more of the profile."""
    identity = context.current()
    assert identity is not None
    found = User.select(User.email, User.name).where(User.id == identity.user_id).tuples().first()
    if found is None:
        raise Forbidden("No account belongs to these credentials.")
    return found[0], found[1]


def get_own_profile_for_update() -> Profile:
    """Lock the caller's row and return the profile."""
    identity = context.current()
    assert identity is not None
    execute("SELECT FROM public.users WHERE id = %s FOR NO KEY UPDATE", (identity.user_id,))
    return own_profile()


def update_own_profile(before: Profile, changes: Mapping[str, Any]) -> Profile:
    """Change the caller's profile and return it.

    Args:
        before: the profile, locked by `get_own_profile_for_update`.
        changes: any of `name`, `locale`, `timezone`, `phone` and `consent_tiers`. `consent_tiers` are all tiers to be
            in force for all brands: missing ones are granted under the default notice, others revoked.

    Raises:
        Invalid: the time zone does not exist.
    """
    fields = dict(changes)
    tiers = fields.pop("consent_tiers", None)
    if "timezone" in fields:
        timezones.require(fields["timezone"])
    if fields:
        # Not now(): two changes in one transaction are two versions.
        User.update(**fields, updated_at=peewee.fn.clock_timestamp()).where(User.id == before.id).execute()
    if tiers is not None:
        consents.set_tiers(tiers, source="profile")
    return own_profile()


def delete_expired() -> dict[str, int]:
    """Delete expired sign-ups, sessions, links and counters, and idle anonymous people without scans or consents.

    Returns:
        Number of deleted rows, by kind.
    """
    return {kind: value("SELECT app.delete_expired(%s, %s)", (kind, keep)) for kind, keep in _KEPT.items()}


def signup_mail(signup_id: UUID) -> dict[str, Any] | None:
    """Return `email` and `locale` of a sign-up's mail; None if it is verified or expired."""
    return row("SELECT * FROM app.signup_mail(%s)", (signup_id,))


def mail_recipient(user_id: UUID) -> dict[str, Any] | None:
    """Return `email` and `locale` of mails about an account; None without an address. For system jobs."""
    return row("SELECT * FROM app.account_mail(%s)", (user_id,))
