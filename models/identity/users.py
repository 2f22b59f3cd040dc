"""Users: everybody's accounts, as system admins look after them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import peewee

from models.core.database import execute, value
from models.core.errors import Conflict, Invalid, NotFound
from models.identity.accounts import User
from models.identity.permissions import ROLES


class OwnAccount(Conflict):
    """Nobody locks the own account."""

    code = "own_account"


class AnonymousAccount(Conflict):
    """Nobody could sign in to it."""

    code = "anonymous_account"


class UnknownBrand(Invalid):
    """There is no such brand."""

    code = "unknown_brand"


class BrandByRole(Invalid):
    """Members have a brand, and fans have none."""

    code = "brand_by_role"


_VISIBLE = (
    *(User.id, User.email, User.role_id, User.brand_id, User.name, User.locale, User.timezone, User.phone),
    *(User.is_anonymous, User.identity_provider, User.email_verified_at, User.locked_at),
    *(User.created_at, User.updated_at),
)
"""All but the hash, which nobody reads."""


def page(
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    *,
    email: str | None = None,
    role: str | None = None,
    brand_id: UUID | None = None,
    locked: bool | None = None,
) -> list[User]:
    """Accounts, newest first.

    Args:
        limit: how many at most.
        after: `created_at` and `id` of the last one that has been seen.
        email: how the address begins, in any case.
        role: what they are.
        brand_id: whom they work for.
        locked: only those that are, or only those that aren't.
    """
    query = User.select(*_VISIBLE).order_by(User.created_at.desc(), User.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(User.created_at, User.id) < after)
    if email is not None:
        query = query.where(User.email % (_literal(email.lower()) + "%"))
    if role is not None:
        query = query.where(User.role_id == ROLES.index(role) + 1)
    if brand_id is not None:
        query = query.where(User.brand_id == brand_id)
    if locked is not None:
        query = query.where(User.locked_at.is_null(not locked))
    return list(query)


def _literal(text: str) -> str:
    """A text for LIKE to take as it is."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def get(user_id: UUID) -> User:
    """One account.

    Raises:
        NotFound: there is none.
    """
    found: Any = User.select(*_VISIBLE).where(User.id == user_id).first()
    if found is None:
        raise NotFound
    user: User = found
    return user


def hold(user_id: UUID, brand_id: UUID | None) -> User:
    """One account that nobody else makes something else before this transaction ends.

    Args:
        user_id: whose it is.
        brand_id: the brand that they may come to.

    Raises:
        NotFound: there is none.
    """
    execute("SELECT app.hold_user(%s, %s)", (user_id, brand_id))
    return get(user_id)


def change_role(user_id: UUID, role: str, brand_id: UUID | None) -> tuple[User, list[UUID]]:
    """Change a person's role and brand; tokens with the old role are refused from the next request on.

    Returns:
        The account, and the open invitations that the person may no longer send, which are revoked.

    Raises:
        NotFound: there is no such account.
        RoleNotGrantable: system admins are made and unmade by who runs the system.
        AnonymousAccount: nobody could sign in to it.
        BrandByRole: members have a brand, and fans have none.
        UnknownBrand: there is no such brand.
        LastBrandAdmin: a brand would be left without one.
    """
    revoked = value("SELECT app.change_user_role(%s, %s, %s)", (user_id, role, brand_id))
    return get(user_id), revoked


def lock(user_id: UUID, *, revoke_api_keys: bool = False) -> dict[str, list[str]]:
    """Lock an account: its sessions end, and sign-ins are refused.

    Args:
        user_id: the person.
        revoke_api_keys: whether the API keys that the person created are revoked.

    Returns:
        Ids of the `invitations` and `api_keys` that were revoked.

    Raises:
        NotFound: there is no such account.
        OwnAccount: it is the caller's.
    """
    revoked: dict[str, list[str]] = value("SELECT revoked FROM app.lock_user(%s, true, %s)", (user_id, revoke_api_keys))
    return revoked


def unlock(user_id: UUID) -> None:
    """Unlock an account, and delete its counters of attempts.

    Raises:
        NotFound: there is no such account.
        OwnAccount: it is the caller's.
    """
    execute("SELECT app.lock_user(%s, false, false)", (user_id,))
