"""The table of users, and its management by system admins."""

from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row, execute, value
from models.core.errors import Conflict, Invalid, NotFound
from models.identity.permissions import ROLES


class User(Row):
    """A user, anonymous or not. No role may read `password_hash`."""

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
        """Name of the table."""

        table_name = "users"


class OwnAccount(Conflict):
    """System admins can't suspend their own account or reset its MFA."""

    code = "own_account"


class AnonymousAccount(Conflict):
    """An anonymous account can only be a fan's: it has no way to sign in."""

    code = "anonymous_account"


class UnknownBrand(Invalid):
    """The brand does not exist."""

    code = "unknown_brand"


class BrandByRole(Invalid):
    """Members have a brand, and fans have none."""

    code = "brand_by_role"


_VISIBLE = (
    *(User.id, User.email, User.role_id, User.brand_id, User.name, User.locale, User.timezone, User.phone),
    *(User.is_anonymous, User.identity_provider, User.email_verified_at, User.suspended_at),
    *(User.created_at, User.updated_at),
)
"""Columns that system admins may read: all but the password hash and `sessions_since`."""


def page(
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    *,
    email: str | None = None,
    role: str | None = None,
    brand_id: UUID | None = None,
    suspended: bool | None = None,
) -> list[User]:
    """List accounts, newest first.

    Args:
        limit: maximum number of accounts.
        after: `created_at` and `id` of the last account of the page before.
        email: prefix of the address, in upper or lower case.
        role: role of the account.
        brand_id: brand of the account.
        suspended: suspended accounts only, or the others only.
    """
    query = User.select(*_VISIBLE).order_by(User.created_at.desc(), User.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(User.created_at, User.id) < after)
    if email is not None:
        query = query.where(User.email % (_escape_like(email.lower()) + "%"))
    if role is not None:
        query = query.where(User.role_id == ROLES.index(role) + 1)
    if brand_id is not None:
        query = query.where(User.brand_id == brand_id)
    if suspended is not None:
        query = query.where(User.suspended_at.is_null(not suspended))
    return list(query)


def _escape_like(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def get(user_id: UUID) -> User:
    """Return one account.

    Raises:
        NotFound: the account does not exist.
    """
    found: Any = User.select(*_VISIBLE).where(User.id == user_id).first()
    if found is None:
        raise NotFound
    user: User = found
    return user


def get_for_update(user_id: UUID, brand_id: UUID | None) -> User:
    """Lock the rows of an account and of its brands, and return the account.

    Args:
        user_id: the account.
        brand_id: the brand that the account is to belong to; locked, too.

    Raises:
        NotFound: the account does not exist.
    """
    execute("SELECT app.lock_user_and_brands(%s, %s)", (user_id, brand_id))
    return get(user_id)


def change_role(user_id: UUID, role: str, brand_id: UUID | None) -> tuple[User, list[UUID]]:
    """Change the role and brand of an account. Access tokens with the old role are refused from the next request on.

    Returns:
        The account, and the ids of open invitations that were revoked because the person may no longer send them.

    Raises:
        NotFound: the account does not exist.
        RoleNotGrantable: the old or the new role is System Admin, which only a script grants and removes.
        AnonymousAccount: the account is anonymous and the new role is not Fan.
        BrandByRole: a member's role without a brand, or a fan's with one.
        UnknownBrand: the brand does not exist.
        LastBrandAdmin: the account is the only active Brand Admin of its brand.
    """
    revoked = value("SELECT app.change_user_role(%s, %s, %s)", (user_id, role, brand_id))
    return get(user_id), revoked


def suspend(user_id: UUID, *, revoke_api_keys: bool = False) -> dict[str, list[str]]:
    """Suspend an account: end its sessions and refuse sign-ins.

    Args:
        user_id: the account.
        revoke_api_keys: revoke the API keys that the person created, too.

    Returns:
        Ids of the `invitations` and `api_keys` that were revoked.

    Raises:
        NotFound: the account does not exist.
        OwnAccount: the account is the caller's.
    """
    revoked: dict[str, list[str]] = value("SELECT app.suspend_user(%s, %s)", (user_id, revoke_api_keys))
    return revoked


def reinstate(user_id: UUID) -> None:
    """Reinstate a suspended account, and delete its counters of attempts. An active account loses the counters only.

    Raises:
        NotFound: the account does not exist.
        OwnAccount: the account is the caller's.
    """
    execute("SELECT app.reinstate_user(%s)", (user_id,))
