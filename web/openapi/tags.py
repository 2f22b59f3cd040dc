"""Tags of the document: sections of the API in the order in which a newcomer needs them."""

from typing import Any

GROUPS: dict[str, dict[str, str]] = {
    "Accounts": {
        "signups": "Sign-up",
        "sign_in": "Sign-in",
        "sessions": "Sessions",
        "profile": "Own account",
        "credentials": "Passwords and addresses",
        "mfa": "Second factor",
        "traits": "Traits of fans",
    },
    "Brands": {
        "brands": "Brands",
        "members": "Members",
        "invitations": "Invitations",
        "assignments": "Assignments",
        "api_keys": "API keys",
        "webhooks": "Webhooks",
        "notifications": "Notifications",
    },
    "Campaigns": {
        "campaigns": "Campaigns",
        "life_cycle": "Life cycle of campaigns",
        "versions": "Versions of campaigns",
        "printed_codes": "Printed codes",
        "codes": "Descriptions of codes",
        "consents": "Consents",
        "scans": "Scans",
        "conversions": "Conversions",
        "engagement_events": "Engagement events",
        "engagements": "Own engagements",
        "live_metrics": "Live metrics",
        "rewards": "Rewards",
        "tickets": "Tickets",
        "guests": "Guest lists",
        "check_ins": "Check-ins",
        "venues": "Positions of venues",
        "overview": "Overview",
        "assets": "Files",
    },
    "Contacts": {
        "segments": "Segments",
        "previews": "Previews of segments",
        "segment_members": "Members of segments",
        "computations": "Computations of segments",
        "contacts": "Contacts",
        "properties": "Properties of contacts",
        "notes": "Notes about contacts",
        "merges": "Merges of contacts",
        "timeline": "Timelines of contacts",
        "imports": "Imports",
        "exports": "Exports",
    },
    "Background work": {"jobs": "Jobs", "dead_letters": "Dead letters", "passport": "Downstream services"},
    "Administration": {"users": "Accounts of people", "audit": "Audit trail"},
    "Operations": {"health": "Health", "probes": "Health of processes", "metrics": "Metrics"},
}
"""Modules of endpoints by group, each with the name that people read."""

OTHERS = "More"
"""Group of modules that no group lists."""

_TITLES = {module: title for modules in GROUPS.values() for module, title in modules.items()}


def tag_of(module: str) -> str:
    """Return the tag of the endpoints of a module, e.g. `api-keys` for `web.v1.identity.api_keys`."""
    return _last(module).replace("_", "-")


def tags_of(descriptions: dict[str, str]) -> list[dict[str, Any]]:
    """Return the tag objects in the order of the groups.

    Args:
        descriptions: docstring of each module with endpoints, by the module's name.
    """
    known = {_last(module): description for module, description in descriptions.items()}
    order = [*(name for name in _TITLES if name in known), *sorted(known.keys() - _TITLES.keys())]
    return [{"name": tag_of(name), "x-displayName": _title(name), "description": known[name]} for name in order]


def groups_of(tags: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups of these tags for `x-tagGroups`, without empty ones."""
    names = [tag["name"] for tag in tags]
    grouped = {group: [tag_of(module) for module in modules] for group, modules in GROUPS.items()}
    listed = {name for members in grouped.values() for name in members}
    grouped[OTHERS] = [name for name in names if name not in listed]
    present = {group: [name for name in members if name in names] for group, members in grouped.items()}
    return [{"name": group, "tags": members} for group, members in present.items() if members]


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _title(name: str) -> str:
    return _TITLES.get(name) or name.replace("_", " ").capitalize()
