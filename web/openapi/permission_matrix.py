"""Generate the permission matrix: roles by permission, and roles by endpoint."""

from collections.abc import Iterable, Mapping, Sequence

from models.core.context import API_KEY, FAN, SYSTEM_ADMIN
from models.identity.permissions import Permission
from web.http.endpoint_spec import AUTHENTICATED, OPEN, EndpointSpec

UNAUTHENTICATED = "unauthenticated"
ROLES = (FAN, "Creator", "Campaign Manager", "Brand Admin", SYSTEM_ADMIN)
CALLERS = (UNAUTHENTICATED, *ROLES, API_KEY)

Operation = tuple[str, str]
"""Method and path."""

RENEW = "./scripts/test tests/contract/test_roles.py --renew-permissions"

_HEAD = f"""# Permissions of roles and endpoints

Generated from the endpoint specs and from the tables `permissions` and `role_permissions`, which row policies also
read. A test compares this page with both, and another test sends every request as every caller. After a change:
`{RENEW}`.

- Members of a brand (Creator, Campaign Manager, Brand Admin) act within their brand. Records of other brands are 404.
- A Creator lacks `campaigns:all`, and sees only assigned campaigns with their codes, scans, engagements and figures.
  Row policies enforce this (`app.own_campaigns()`). Jobs belong to whole brands, so a Creator has no `jobs:read`.
- Fans need no permission: their scans, consents and accounts are their own.
- System admins manage brands, accounts and jobs of all brands. They see no campaign, contact or figure of a brand.
- An API key acts for its brand within its scopes: permissions of its creator that are marked here. It is not a person:
  endpoints about the caller's own account, sessions and consents refuse keys.
- A valid token is not enough: each transaction checks the session or key, the role and the brand.
"""


def is_allowed(permissions: Mapping[str, Permission], declared: EndpointSpec, caller: str) -> bool:
    """Return whether an endpoint admits a caller. An API key is one with all scopes."""
    if declared.permission in OPEN:
        return True
    if caller == UNAUTHENTICATED:
        return False
    if caller == API_KEY:
        needed = permissions.get(declared.scope or declared.permission)
        return needed is not None and needed.for_machines
    if declared.permission == AUTHENTICATED:
        return True
    needed = permissions.get(declared.permission)
    return needed is not None and caller in needed.roles


def page(specs: Mapping[Operation, EndpointSpec], permissions: Sequence[Permission]) -> str:
    """Return the page as Markdown."""
    known = {permission.name: permission for permission in permissions}
    held = (
        [f"`{one.name}`", one.meaning, *(_mark(role in one.roles) for role in ROLES), _mark(one.for_machines)]
        for one in permissions
    )
    endpoints = (
        [
            f"`{method} {path}`",
            _requirement(declared),
            *(_mark(is_allowed(known, declared, caller)) for caller in CALLERS),
        ]
        for (method, path), declared in sorted(specs.items(), key=lambda item: (item[0][1], item[0][0]))
    )
    return "\n".join(
        [
            _HEAD,
            "## Permissions\n",
            *_table(["permission", "to", *ROLES, API_KEY], held),
            "\n## Endpoints\n",
            *_table(["endpoint", "needs", *CALLERS], endpoints),
            "",
        ]
    )


def _requirement(declared: EndpointSpec) -> str:
    if declared.permission in OPEN:
        return "nothing"
    if declared.permission == AUTHENTICATED:
        return "a signed-in caller" + (f", or a key with `{declared.scope}`" if declared.scope else "")
    return f"`{declared.permission}`" + (", step-up" if declared.recent else "")


def _mark(yes: bool) -> str:
    return "✓" if yes else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * 2 + [":-:"] * (len(head) - 2), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
