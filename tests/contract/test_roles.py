"""Every endpoint as every caller: who is let in is who the table of permissions says, and nobody else."""

import pytest

from models.core.context import API_KEY
from models.identity import permissions
from models.identity.permissions import ROLES, Permission
from scripts.devstack.environment import ROOT
from tests.contract.examples import EXAMPLES
from tests.contract.judge import faults, operations
from tests.contract.world import ANONYMOUS, CALLERS, FAN, MEMBERS, NOBODY, Caller
from web.app import application
from web.http.endpoint_spec import AUTHENTICATED, OPEN
from web.openapi import permission_matrix
from web.openapi.document import declarations

DECLARED = declarations(application)
PAGE = ROOT / "docs" / "permissions.md"
NARROW = "an API key with one scope"
ENDING_SESSIONS = {("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/verify")}
OF_A_BRAND = {"brand_id", "campaign_id", "code_id", "job_id", "user_id", "invitation_id", "api_key_id"}


@pytest.fixture(scope="module")
def known(world) -> dict[str, Permission]:
    """The table of permissions."""
    return {one.name: one for one in permissions.table()}


@pytest.fixture(scope="module")
def callers(world, known) -> dict[str, Caller]:
    """Somebody of every kind, API keys with every scope and with one included."""
    every = [one.name for one in known.values() if one.for_machines and "Brand Admin" in one.roles]
    keys = {API_KEY: world.api_key(*every), NARROW: world.api_key("brand:read")}
    return {**world.callers, **{name: Caller(text) for name, (_, text) in keys.items()}}


def is_let_in(known, declared, who):
    if who == NARROW:
        return declared.permission in OPEN or "brand:read" in (declared.permission, declared.scope)
    return permission_matrix.may(known, declared, FAN if who == ANONYMOUS else who)


def asked_by(world, callers, who, operation, example):
    """The example's request, as somebody else; whoever ends their session does so in another one."""
    ends = operation in ENDING_SESSIONS and who in CALLERS
    return example.of(world.again(who) if ends else callers[who]).request()


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_who_is_let_in_is_who_the_table_says(operation, world, wire, known, callers, fresh_limits):
    declared, wrong = DECLARED[operation], []
    example = EXAMPLES[operation](world)

    for who in callers:
        allowed = is_let_in(known, declared, who)
        if allowed:
            example = EXAMPLES[operation](world)
        answer = wire.send(asked_by(world, callers, who, operation, example))
        if answer.crash is not None or answer.status >= 500:
            wrong.append(f"{who}: {answer.crash or answer.status}")
        elif not allowed:
            wrong += [f"{who}: {fault}" for fault in faults(answer)]
            if answer.status != (401 if who == NOBODY else 403):
                wrong.append(f"{who}: {answer.status} {answer.code}, not refused")
        elif who == ANONYMOUS and answer.code == "forbidden":
            continue  # it takes an account, and there is none
        elif (answer.status == 401 and declared.permission not in OPEN) or answer.code == "forbidden":
            wrong.append(f"{who}: {answer.status} {answer.code}, refused")

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "operation", [o for o in operations() if any(f"{{{name}}}" in o[1] for name in OF_A_BRAND)], ids=" ".join
)
def test_nobody_of_another_brand_gets_at_what_is_this_one_s(operation, world, wire):
    example, wrong = EXAMPLES[operation](world), []
    if example.caller not in [world.callers[role] for role in MEMBERS]:
        return assert_for_system_admins_alone(operation)

    for role, stranger in world.strangers.items():
        answer = wire.send(example.of(stranger).request())
        wrong += [f"{role}: {fault}" for fault in faults(answer)]
        if answer.status not in (403, 404):
            wrong.append(f"{role}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)


def assert_for_system_admins_alone(operation):
    """No member of a brand, of whichever, is let in at all."""
    roles = next((one.roles for one in permissions.table() if one.name == DECLARED[operation].permission), [])
    assert roles == ["System Admin"]


def test_every_endpoint_that_is_documented_has_a_declaration_and_the_other_way_round():
    assert set(DECLARED) == set(operations())


def test_every_permission_that_an_endpoint_asks_for_is_somebody_s(known):
    asked = {d.scope or d.permission for d in DECLARED.values()} - {*OPEN, AUTHENTICATED}

    assert {name for name in asked if name not in known or not known[name].roles} == set()


def test_roles_have_the_ids_that_the_code_takes_them_to_have(superuser, database):
    with superuser.cursor() as cursor:
        cursor.execute("select name from public.roles order by id")
        assert tuple(name for (name,) in cursor.fetchall()) == ROLES
        assert set(permission_matrix.ROLES) == set(ROLES)


def test_a_creator_launches_and_writes_nothing(known):
    held = {name for name, one in known.items() if "Creator" in one.roles}

    assert {name for name in held if not name.endswith(":read")} == set()
    assert {"assets:read", "surveys:read", "analytics:read"} <= held


def test_a_system_admin_sees_no_campaign_contact_scan_or_number(known):
    held = {name.partition(":")[0] for name, one in known.items() if "System Admin" in one.roles}

    assert held & {"campaigns", "contacts", "scans", "analytics", "audiences", "assets", "surveys", "billing"} == set()


def test_no_machine_gets_what_gives_power_over_people_or_keys(known):
    held = {name for name, one in known.items() if one.for_machines}

    assert (
        held & {"members:write", "users:write", "users:read", "api_keys:write", "api_keys:read", "audit:read"} == set()
    )


def test_the_page_about_permissions_is_what_the_code_and_the_table_say(known, request):
    page = permission_matrix.page(DECLARED, list(known.values()))
    if request.config.getoption("--renew-permissions"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page, f"If this is meant: {permission_matrix.RENEW}"
