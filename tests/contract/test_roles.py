"""Test every endpoint as every caller: admission follows the table of permissions."""

import pytest

from models.core.context import API_KEY
from models.identity import permissions
from models.identity.permissions import ROLES, Permission
from scripts.devstack.environment import ROOT
from tests.contract.examples import EXAMPLES
from tests.contract.expected import declared, faults, operations, require_none
from tests.contract.seed import ANONYMOUS, CALLERS, FAN, MEMBERS, UNAUTHENTICATED, Caller
from web.app import application
from web.http.endpoint_spec import AUTHENTICATED, OPEN
from web.openapi import permission_matrix
from web.openapi.document import endpoint_specs

DECLARED = endpoint_specs(application)
PAGE = ROOT / "docs" / "permissions.md"
KEY_SCHEME = {"apiKey": []}
NARROW = "an API key with one scope"
ENDING_SESSIONS = {("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/verify")}
OF_A_BRAND = {"brand_id", "campaign_id", "code_id", "job_id", "user_id", "invitation_id", "api_key_id"}


@pytest.fixture(scope="module")
def known(seed) -> dict[str, Permission]:
    """Return the table of permissions by name."""
    return {one.name: one for one in permissions.table()}


@pytest.fixture(scope="module")
def callers(seed, known) -> dict[str, Caller]:
    """Return a caller of every role, an API key with every scope, and an API key with one scope."""
    every = [one.name for one in known.values() if one.for_machines and "Brand Admin" in one.roles]
    keys = {API_KEY: seed.api_key(*every), NARROW: seed.api_key("brand:read")}
    return {**seed.callers, **{name: Caller(text) for name, (_, text) in keys.items()}}


def is_admitted(known, spec, caller):
    if caller == NARROW:
        return spec.permission in OPEN or "brand:read" in (spec.permission, spec.scope)
    return permission_matrix.is_allowed(known, spec, FAN if caller == ANONYMOUS else caller)


def request_as(seed, callers, caller, operation, example):
    """Return the example's request sent by a caller. Operations that end the session use a new session."""
    ends = operation in ENDING_SESSIONS and caller in CALLERS
    return example.of(seed.again(caller) if ends else callers[caller]).request()


def test_endpoints_admit_exactly_the_permitted_callers(seed, raw_client, known, callers, fresh_limits):
    def check(operation):
        spec, example = DECLARED[operation], EXAMPLES[operation](seed)
        for caller in callers:
            allowed = is_admitted(known, spec, caller)
            if allowed:
                example = EXAMPLES[operation](seed)
            answer = raw_client.send(request_as(seed, callers, caller, operation, example))
            if answer.crash is not None or answer.status >= 500:
                yield f"{caller}: {answer.crash or answer.status}"
            elif not allowed:
                yield from (f"{caller}: {fault}" for fault in faults(answer))
                if answer.status != (401 if caller == UNAUTHENTICATED else 403):
                    yield f"{caller}: {answer.status} {answer.code}, not refused"
            elif caller == ANONYMOUS and answer.code == "forbidden":
                continue  # the act needs an account
            elif (answer.status == 401 and spec.permission not in OPEN) or answer.code == "forbidden":
                yield f"{caller}: {answer.status} {answer.code}, refused"

    require_none(operations(), check)


def test_members_of_another_brand_are_refused(seed, raw_client):
    def check(operation):
        example = EXAMPLES[operation](seed)
        if example.caller not in [seed.callers[role] for role in MEMBERS]:
            # No member of any brand has the permission.
            roles = next((one.roles for one in permissions.table() if one.name == DECLARED[operation].permission), [])
            if roles != ["System Admin"]:
                yield f"is open to {roles}, and its example is not sent by a member"
            return
        for role, stranger in seed.strangers.items():
            answer = raw_client.send(example.of(stranger).request())
            yield from (f"{role}: {fault}" for fault in faults(answer))
            if answer.status not in (403, 404):
                yield f"{role}: {answer.status} {answer.code}"

    require_none([o for o in operations() if any(f"{{{name}}}" in o[1] for name in OF_A_BRAND)], check)


def test_documented_operations_are_the_declared_endpoints():
    assert set(DECLARED) == set(operations())


def test_every_declared_permission_belongs_to_a_role(known):
    asked = {d.scope or d.permission for d in DECLARED.values()} - {*OPEN, AUTHENTICATED}

    assert {name for name in asked if name not in known or not known[name].roles} == set()


def test_document_offers_api_keys_where_they_are_admitted(known):
    def check(operation):
        spec, needed = DECLARED[operation], declared(operation)["security"]
        if spec.permission not in OPEN and (KEY_SCHEME in needed) != permission_matrix.is_allowed(known, spec, API_KEY):
            yield f"lists {needed}: see FOR_KEYS in models/identity/permissions.py"

    require_none(operations(), check)


def test_role_ids_in_database_match_the_code(superuser, database):
    with superuser.cursor() as cursor:
        cursor.execute("select name from public.roles order by id")
        assert tuple(name for (name,) in cursor.fetchall()) == ROLES
        assert set(permission_matrix.ROLES) == set(ROLES)


def test_creator_reads_and_works_at_entrances_only(known):
    held = {name for name, one in known.items() if "Creator" in one.roles}

    assert {name for name in held if not name.endswith(":read")} == {"check_ins:write", "rewards:redeem"}
    assert {"assets:read", "surveys:read", "analytics:read"} <= held


def test_system_admin_has_no_permission_on_data_of_brands(known):
    held = {name.partition(":")[0] for name, one in known.items() if "System Admin" in one.roles}

    assert held & {"campaigns", "contacts", "scans", "analytics", "audiences", "assets", "surveys", "billing"} == set()


def test_api_keys_have_no_permission_over_people_or_keys(known):
    held = {name for name, one in known.items() if one.for_machines}

    assert (
        held & {"members:write", "users:write", "users:read", "api_keys:write", "api_keys:read", "audit:read"} == set()
    )


def test_permissions_page_matches_code_and_table(known, request):
    page = permission_matrix.page(DECLARED, list(known.values()))
    if request.config.getoption("--renew-permissions"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page, f"If this is meant: {permission_matrix.RENEW}"
