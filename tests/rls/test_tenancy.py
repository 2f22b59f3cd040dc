"""No caller reads or changes rows of others, in any table, partition or view of the catalogue."""

from collections.abc import Iterator

import psycopg2.errors
import pytest
from psycopg2 import sql

from tests.rls.attempts import OUT_OF_REACH, leaks, touched
from tests.rls.shapes import Shape
from tests.rls.world import CALLERS, FAN, JOB, MEMBER, Caller, World

LOGINS = ["app_web", "app_account", "app_scan", "app_worker", "app_seal"]


@pytest.fixture
def world(shape: Shape) -> Iterator[World]:
    with shape.undone() as cur:
        yield World(cur).populate()


def test_each_party_owns_one_row_of_each_table(world: World) -> None:
    for table in world.tables:
        for caller in CALLERS:
            if (column := caller.column(table)) and not table.is_partition:
                where = sql.SQL("select count(*) from {} where {} = %s").format(
                    table.identifier, sql.Identifier(column)
                )
                for party in (world.mine, world.theirs):
                    found = world.value(where, (caller.owner(table, party),))
                    assert found == 1 or table.kind == "v", f"{found} rows of a party in {table.full_name} by {column}"


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_caller_reaches_no_rows_of_others(caller: Caller, world: World) -> None:
    assert [leak for table in world.tables for leak in leaks(world, caller, table)] == []


@pytest.mark.parametrize("caller", [MEMBER, FAN, JOB], ids=lambda caller: caller.name)
def test_caller_sees_own_rows(caller: Caller, world: World) -> None:
    seen = 0
    for table in world.tables:
        if caller.column(table):
            count = touched(world, caller, sql.SQL("select count(*) from {}").format(table.identifier))
            assert count in (OUT_OF_REACH, world.own_count(caller, table)), table.full_name
            seen += count > 0
    assert seen >= 8


def test_api_key_with_all_scopes_has_machine_permissions_only(world: World) -> None:
    world.cur.execute("select name, for_machines from public.permissions")
    permissions = dict(world.cur.fetchall())
    key = Caller("an API key", "authenticated", "API Key", "brand_id", scopes=tuple(permissions))
    with world.acting_as(key):
        world.cur.execute("select p from unnest(%s) as p where app.brand_for(p) is not null", (list(permissions),))
        found = {name for (name,) in world.cur.fetchall()}

    assert found == {name for name, for_machines in permissions.items() if for_machines}


@pytest.mark.parametrize("login", LOGINS)
def test_login_without_role_reads_no_table(login: str, shape: Shape, world: World) -> None:
    connected = shape.connect(login)
    with connected.cursor() as cur:
        for table in world.tables:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(sql.SQL("select 1 from {} limit 1").format(table.identifier))
    connected.close()


@pytest.mark.parametrize(
    ("login", "role"),
    [
        *(
            ("app_web", role)
            for role in ("app_admin", "app_system", "app_job", "app_definer", "service_role", "postgres")
        ),
        *(("app_account", role) for role in ("authenticated", "app_fan", "app_system", "app_definer", "postgres")),
        *(("app_scan", role) for role in ("authenticated", "app_fan", "app_system", "app_definer", "postgres")),
        *(("app_worker", role) for role in ("authenticated", "app_admin", "app_definer", "service_role", "postgres")),
        *(("app_seal", role) for role in ("authenticated", "app_fan", "app_admin", "app_system", "app_definer")),
        *((login, "app_sealer") for login in ("app_web", "app_account", "app_scan", "app_worker")),
        *((login, "app_credentials") for login in ("app_web", "app_scan", "app_worker", "app_seal")),
    ],
)
def test_login_cannot_take_roles_of_other_logins(login: str, role: str, shape: Shape) -> None:
    connected = shape.connect(login)
    with connected.cursor() as cur, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cur.execute("select set_config('role', %s, false)", (role,))
    connected.close()
