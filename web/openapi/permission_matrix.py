"""Who may do what, as a page: of roles and permissions, and of roles and endpoints."""

from collections.abc import Iterable, Mapping, Sequence

from models.core.context import API_KEY, FAN, SYSTEM_ADMIN
from models.identity.permissions import Permission
from web.http.endpoint_spec import AUTHENTICATED, OPEN, EndpointSpec

NOBODY = "nobody"
ROLES = (FAN, "Creator", "Campaign Manager", "Brand Admin", SYSTEM_ADMIN)
CALLERS = (NOBODY, *ROLES, API_KEY)

Operation = tuple[str, str]
"""Method and path."""

RENEW = "./scripts/test tests/contract/test_roles.py --renew-permissions"

_HEAD = f"""# Who may do what

Made from what the endpoints declare and from the tables `permissions` and `role_permissions`, which the row policies
read, too. A test compares this page with both, and another one sends every request as every caller. After a change:
`{RENEW}`.

- Members of a brand (Creator, Campaign Manager, Brand Admin) act within their brand; what is another's is not found.
- Who lacks `campaigns:all`, a Creator, sees the campaigns that they are assigned to, and of codes, scans, engagements
  and numbers what belongs to these. The row policies see to that (`app.own_campaigns()`). Jobs are of whole brands,
  so such a role has no `jobs:read`.
- Fans have no permission: what they do (scans, consents, their account) concerns themselves, and everybody may do that.
- System admins look after brands, accounts and jobs of all brands; they see no campaign, contact or number of one.
- An API key acts for its brand within its scopes: permissions of whoever made it that are marked here. It is nobody:
  what people do for themselves, no key does.
- Nobody is let in by a token alone: session or key, role and brand are looked at in each transaction.
"""


def is_allowed(permissions: Mapping[str, Permission], declared: EndpointSpec, caller: str) -> bool:
    """Whether an endpoint lets a caller in; an API key, one that has every scope there is."""
    if declared.permission in OPEN:
        return True
    if caller == NOBODY:
        return False
    if caller == API_KEY:
        needed = permissions.get(declared.scope or declared.permission)
        return needed is not None and needed.for_machines
    if declared.permission == AUTHENTICATED:
        return True
    needed = permissions.get(declared.permission)
    return needed is not None and caller in needed.roles


def page(specs: Mapping[Operation, EndpointSpec], permissions: Sequence[Permission]) -> str:
    """The page, as Markdown."""
    known = {permission.name: permission for permission in permissions}
    held = (
        [f"`{one.name}`", one.meaning, *(_mark(role in one.roles) for role in ROLES), _mark(one.for_machines)]
        for one in permissions
    )
    doors = (
        [
            f"`{method} {path}`",
            _needs(declared),
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
            *_table(["endpoint", "needs", *CALLERS], doors),
            "",
        ]
    )


def _needs(declared: EndpointSpec) -> str:
    if declared.permission in OPEN:
        return "nothing"
    if declared.permission == AUTHENTICATED:
        return "to be signed in" + (f", a key `{declared.scope}`" if declared.scope else "")
    return f"`{declared.permission}`" + (", shown recently who one is" if declared.recent else "")


def _mark(yes: bool) -> str:
    return "✓" if yes else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * 2 + [":-:"] * (len(head) - 2), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
