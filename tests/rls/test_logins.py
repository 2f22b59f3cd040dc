"""Worst-case reach of each login with SQL access and forged claims, as `docs/tenancy.md` describes it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from scripts.devstack.environment import ROOT
from tests.rls.lints_of_logins import CREDENTIAL_TABLES
from tests.rls.rows import Party
from tests.rls.shapes import Shape
from tests.rls.test_functions import Function, functions
from tests.rls.test_shadows import CLAIMING, LOGINS, roles_of
from tests.rls.world import MEMBER, World

TENANCY = Path(ROOT) / "docs" / "tenancy.md"
HASH = "$argon2id$of-another-person"
STATE = [
    *(f"select '{table}', array_agg(t::text order by t::text) from {table} t" for table in CREDENTIAL_TABLES),
    "select 'users', array_agg((u.id, u.email, u.password_hash)::text order by u.id) from public.users u",
]
REACHES = {
    "app_web": {"public.campaigns", "public.users", "public.audit_logs"},
    "app_account": {"public.brands", "public.users", "public.audit_logs"},
    "app_scan": set(),
    "app_worker": {"public.campaigns", "public.users", "public.qr_scans"},
}
"""Examples of tables that a login reads at worst. A login without examples reads no table."""
ENDS = {
    "app.change_member_role": "settles the address of a member of the claimed brand",
    "app.remove_member": "ends the sessions of a member of the claimed brand",
    "app.begin_link": "shortens the life of a link",
    "app.delete_expired": "deletes expired rows",
}
"""Functions by which other logins change rows of credentials. None creates, moves or reads one."""


@pytest.fixture
def world(bare: Shape) -> Iterator[World]:
    with bare.undone() as cur:
        populated = World(cur).populate()
        cur.execute("update public.users set password_hash = %s where id = %s", (HASH, populated.theirs.user_id))
        yield populated


def documented() -> dict[str, set[str]]:
    """Return the roles of each login that `docs/tenancy.md` names."""
    lines = re.findall(r"^\| `(app_\w+)` \| ([^|]*) \|", TENANCY.read_text(), re.MULTILINE)
    return {login: set(re.findall(r"`(\w+)`", roles)) for login, roles in lines}


def state(world: World) -> dict[str, list[str]]:
    """Return all rows of credentials."""
    world.cur.execute(" union all ".join(STATE))
    return dict(world.cur.fetchall())


def forge(world: World, role: str, function: Function) -> tuple[str, dict[str, list[str]]]:
    """Call a function with the claims and ids of the other party. Return its result and the credentials afterwards."""
    party, caller = world.theirs, CLAIMING.get(role, MEMBER)
    claims = caller.claims(party) | {"sub": str(party.user_id), "session_id": str(party.thing_id), "aal": "aal2"}
    ids = {name for name, kind in function.arguments.items() if kind == "uuid"}
    statement, values = function.call(world, caller, ids)
    said = ""
    with world.undone():
        world.cur.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
            (json.dumps(claims), role),
        )
        world.cur.execute("savepoint called")
        try:
            world.cur.execute(statement, values)
            said = str(world.cur.fetchall()) if world.cur.description else ""
        except psycopg2.Error:
            world.cur.execute("rollback to savepoint called")
        world.cur.execute("select set_config('role', 'none', true)")
        return said, state(world)


def secrets(party: Party) -> list[str]:
    """Return a party's values that only the account login may read."""
    return [HASH, party.thing_id.bytes.hex(), str(party.thing_id.bytes)]


def test_logins_take_the_documented_roles(world: World) -> None:
    assert documented() == {login: set(roles_of(world.cur, login)[1:]) for login in LOGINS}


@pytest.mark.parametrize("login", LOGINS)
def test_login_has_no_privilege_on_credential_tables(login: str, world: World) -> None:
    for role in roles_of(world.cur, login):
        for table in CREDENTIAL_TABLES:
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                held = "select has_table_privilege(%s, %s, %s)"
                assert not world.value(held, (role, table, privilege)), f"{role} {privilege} {table}"


@pytest.mark.parametrize("login", REACHES)
def test_login_reads_the_known_tables(login: str, world: World) -> None:
    roles = roles_of(world.cur, login)
    readable = {
        table.full_name
        for table in world.tables
        if any(
            world.value("select has_any_column_privilege(%s, %s, 'SELECT')", (role, table.full_name)) for role in roles
        )
    }
    assert REACHES[login] <= readable
    assert bool(REACHES[login]) == bool(readable)


@pytest.mark.parametrize("login", [login for login in LOGINS if login != "app_account"])
def test_forged_claims_obtain_no_credential_of_others(login: str, world: World) -> None:
    before = state(world)
    for role in roles_of(world.cur, login):
        for function in functions(world, role):
            said, after = forge(world, role, function)
            assert not [secret for secret in secrets(world.theirs) if secret in said], f"{role}: {function.name}"
            if function.name not in ENDS:
                assert after == before, f"{role}: {function.name}"


def test_forged_claims_of_the_account_login_obtain_credentials(world: World) -> None:
    world.cur.execute("delete from app.totp_factors")
    called = {one.name: one for one in functions(world, "app_credentials")}
    before = state(world)

    said, _ = forge(world, "app_credentials", called["app.begin_step_up"])
    _, after = forge(world, "app_credentials", called["app.end_session"])

    assert HASH in said
    assert after != before


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("table", ["app.relay_lock", "app.job_counts"])
def test_logins_cannot_lock_tables_of_relay_and_job_counts(table: str, login: str, world: World) -> None:
    for role in roles_of(world.cur, login):
        # LOCK TABLE asks for one of these in every mode but ACCESS SHARE, which EXCLUSIVE doesn't conflict with.
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            assert not world.value("select has_table_privilege(%s, %s, %s)", (role, table, privilege)), role


def test_relay_locks_table_and_no_advisory_lock(world: World) -> None:
    held = "select array_agg(distinct locktype || coalesce(' ' || relation::regclass, '')) from pg_locks where {}"
    with world.undone():
        world.cur.execute("set local role app_worker")
        world.cur.execute("select * from app.publish_due('{}', 1, '{}', null)")
        world.cur.execute("set local role none")

        assert world.value(held.format("pid = pg_backend_pid() and locktype = 'advisory'")) is None
        assert world.value(
            held.format("pid = pg_backend_pid() and mode = 'ExclusiveLock' and relation is not null")
        ) == ["relation app.relay_lock"]
