"""What each role may do: one table, read by the row policies and by the web tier alike."""

from dataclasses import dataclass

from models.core import context
from models.core.database import rows, transaction

ROLES = ("Brand Admin", "Campaign Manager", "Creator", "Fan", "System Admin")
"""Every role; a role's id is its place in here, from one on."""


def granted() -> frozenset[tuple[str, str]]:
    """Return every pair of a role and a permission that it has, e.g. `("Campaign Manager", "campaigns:launch")`."""
    with transaction(context.nobody()):
        found = rows("SELECT role, permission FROM app.list_permissions()")
    return frozenset((one["role"], one["permission"]) for one in found)


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
