"""The policy of Passport: the jobs that may call an operation. A call that is not listed is refused."""

from typing import Literal

from models.core.context import Identity

CallerRole = Literal["brand", "fan", "system"]
"""Role of a job: it acts for a brand, for a fan, or for the platform (`runs_as` of its actor)."""

_BRAND: frozenset[CallerRole] = frozenset({"brand"})
_SYSTEM: frozenset[CallerRole] = frozenset({"system"})

POLICY: dict[tuple[str, str], frozenset[CallerRole]] = {
    ("concierto", "publish"): _BRAND,
    ("concierto", "close"): _BRAND,
    ("concierto", "invite"): _BRAND,
    ("concierto", "uninvite"): _BRAND,
    ("concierto", "issue_ticket"): _BRAND,
    ("concierto", "cancel_ticket"): _BRAND,
    ("concierto", "check_in"): _BRAND,
    ("concierto", "undo_check_in"): _BRAND,
    ("concierto", "attendance"): _BRAND,
    ("cals", "push_contacts"): _BRAND,
    ("cals", "pull_contacts"): _BRAND,
    ("cals", "push_activities"): _BRAND,
    ("coliseum", "open"): _BRAND,
    ("coliseum", "ingest"): _BRAND,
    ("coliseum", "ingest_moves"): _BRAND,
    ("coliseum", "segment_totals"): _BRAND,
    ("coliseum", "metrics"): _BRAND,
    ("mediaid", "resolve"): _SYSTEM,
    ("mediaid", "link"): _SYSTEM,
    ("mediaid", "traits"): _SYSTEM,
    ("mediaid", "put_traits"): _SYSTEM,
    ("mediaid", "forget"): _SYSTEM,
    ("locker", "open"): _BRAND,
    ("locker", "reserve"): _BRAND,
    ("locker", "extend"): _BRAND,
    ("locker", "grant"): _BRAND,
    ("locker", "claim"): _BRAND,
    ("locker", "redeem"): _BRAND,
    ("locker", "suspend"): _BRAND,
    ("locker", "reinstate"): _BRAND,
    ("locker", "release"): _BRAND,
    ("locker", "stock"): _BRAND,
    ("geocoder", "locate"): _BRAND,
}
"""Roles that may call an operation, by service and operation."""

_ROLES: dict[str, CallerRole] = {"app_job": "brand", "app_fan": "fan", "app_system": "system"}


def role_of(identity: Identity) -> CallerRole:
    """Return the role of a job's identity."""
    return _ROLES[identity.role]


def allows(role: CallerRole, service: str, operation: str) -> bool:
    """Return whether a job of this role may call the operation."""
    return role in POLICY.get((service, operation), ())
