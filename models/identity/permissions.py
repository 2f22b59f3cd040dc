"""What each role may do: one table, read by the row policies and by the web tier alike."""

import time
from dataclasses import dataclass

from models.core import context
from models.core.database import rows, transaction

ROLES = ("Brand Admin", "Campaign Manager", "Creator", "Fan", "System Admin")
"""Every role; a role's id is its place in here, from one on."""

_MAX_AGE = 60.0  # seconds; the policies bite at once whatever this cache says

_cached: tuple[float, frozenset[tuple[str, str]]] = (0.0, frozenset())


def allowed(user_role: str | None, permission: str) -> bool:
    """Whether the role has the permission, e.g. `("Campaign Manager", "campaigns:launch")`."""
    return (user_role or "", permission) in _granted()


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that can be permitted: what it means, to which roles it is, and whether API keys may have it."""

    name: str
    meaning: str
    for_machines: bool
    roles: list[str]


def table() -> list[Permission]:
    """Every permission, in the order of its name."""
    with transaction(context.nobody()):
        found = rows("SELECT name, meaning, for_machines, roles FROM app.describe_permissions()")
    return sorted((Permission(**one) for one in found), key=lambda permission: permission.name)


def role_of(role_id: int) -> str:
    """The name of a role."""
    return ROLES[role_id - 1]


def _granted() -> frozenset[tuple[str, str]]:
    global _cached
    read_at, granted = _cached
    if not granted or time.monotonic() - read_at > _MAX_AGE:
        with transaction(context.nobody()):
            found = rows("SELECT role, permission FROM app.list_permissions()")
        granted = frozenset((r["role"], r["permission"]) for r in found)
        _cached = (time.monotonic(), granted)
    return granted
