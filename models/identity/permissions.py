"""Roles and permissions. SQL owns both; a test compares the types here with the tables."""

from dataclasses import dataclass
from typing import Literal, get_args

from models.core import context
from models.core.database import rows, transaction

MemberRole = Literal["Brand Admin", "Campaign Manager", "Creator"]
"""Roles that belong to a brand."""
Role = Literal["Brand Admin", "Campaign Manager", "Creator", "Fan", "System Admin"]

PermissionName = Literal[
    "analytics:read",
    "api_keys:read",
    "api_keys:write",
    "assets:read",
    "assets:write",
    "audiences:read",
    "audiences:write",
    "audit:read",
    "billing:read",
    "billing:write",
    "brand:read",
    "brand:write",
    "brands:read",
    "brands:write",
    "campaigns:all",
    "campaigns:assign",
    "campaigns:launch",
    "campaigns:read",
    "campaigns:write",
    "check_ins:write",
    "contacts:export",
    "contacts:read",
    "contacts:write",
    "conversions:write",
    "guests:write",
    "jobs:read",
    "jobs:write",
    "members:read",
    "members:write",
    "notifications:read",
    "rewards:redeem",
    "scans:read",
    "surveys:read",
    "surveys:write",
    "users:read",
    "users:write",
    "webhooks:manage",
]
"""Permissions of members and system admins. Migrations define them; a test compares the two."""

MEMBER_ROLES: tuple[MemberRole, ...] = get_args(MemberRole)
ROLES: tuple[Role, ...] = get_args(Role)
"""All roles, ordered by their id in the `roles` table, which begins at 1."""
PERMISSIONS: tuple[str, ...] = get_args(PermissionName)

FOR_KEYS: tuple[PermissionName, ...] = (
    "analytics:read",
    "assets:read",
    "assets:write",
    "audiences:read",
    "audiences:write",
    "billing:read",
    "brand:read",
    "campaigns:launch",
    "campaigns:read",
    "campaigns:write",
    "check_ins:write",
    "contacts:read",
    "contacts:write",
    "conversions:write",
    "guests:write",
    "jobs:read",
    "members:read",
    "rewards:redeem",
    "scans:read",
    "surveys:read",
    "surveys:write",
)
"""Permissions that an API key can have as scopes. The table `permissions` decides; a test compares both."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission, its meaning, the roles that have it, and whether API keys may have it."""

    name: str
    meaning: str
    for_machines: bool
    roles: list[str]


def granted() -> frozenset[tuple[str, str]]:
    """Return every pair of a role and a permission that it has, e.g. `("Campaign Manager", "campaigns:launch")`."""
    with transaction(context.unauthenticated()):
        found = rows("SELECT role, permission FROM app.list_permissions()")
    return frozenset((one["role"], one["permission"]) for one in found)


def table() -> list[Permission]:
    """Return all permissions, ordered by name."""
    with transaction(context.unauthenticated()):
        found = rows("SELECT name, meaning, for_machines, roles FROM app.describe_permissions()")
    return sorted((Permission(**one) for one in found), key=lambda permission: permission.name)


def member_role_of(role_id: int) -> MemberRole:
    """Return the name of a member's role."""
    return MEMBER_ROLES[role_id - 1]


def role_of(role_id: int) -> Role:
    """Return the name of a role."""
    return ROLES[role_id - 1]
