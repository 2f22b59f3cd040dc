"""Names shadowed in `pg_temp` never run with the rights of another role, in any function and for any login."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from tests.rls.shapes import Shape
from tests.rls.test_functions import Function, functions
from tests.rls.world import ANONYMOUS, FAN, JOB, MEMBER, Caller, World

LOGINS = ["app_web", "app_account", "app_scan", "app_worker", "app_seal"]
CLAIMING = {"app_public": ANONYMOUS, "app_fan": FAN, "app_job": JOB}
"""Claims of a role; other roles get those of a member."""
STOLEN = "runs as another role"

# Runs with the rights of the statement that contains it. Casts of the call run it too, outside of functions.
TRAP = """
    create function pg_temp.trap(p anyelement) returns pg_catalog.bool language plpgsql as $$
    declare
        context pg_catalog.text;
    begin
        get diagnostics context = pg_context;
        if context ~ 'function (app|auth|public)[.]'
            or not pg_catalog.pg_has_role(session_user, current_user, 'MEMBER')
        then
            raise warning 'runs as another role: %', current_user;
        end if;
        return true;
    end $$;
    create function pg_temp.same(a pg_catalog.text, b pg_catalog.text) returns pg_catalog.bool language sql
        as 'select pg_temp.trap(a)';
    create operator pg_temp.= (leftarg = pg_catalog.text, rightarg = pg_catalog.text, function = pg_temp.same);
    create function pg_temp.now() returns pg_catalog.timestamptz language sql
        as 'select case when pg_temp.trap(1) then pg_catalog.now() end';
"""


def shadow(cur: cursor) -> int:
    """Shadow built-in base types by domains and tables by views. Return the number of shadowed names."""
    cur.execute(
        "select typname from pg_type where typtype = 'b' and typcategory <> 'A'"
        " and typnamespace = 'pg_catalog'::regnamespace"
    )
    types = [name for (name,) in cur.fetchall()]
    cur.execute(
        "select distinct relname from pg_class where relkind in ('r', 'p', 'v')"
        " and relnamespace::regnamespace::text in ('pg_catalog', 'public', 'app')"
    )
    tables = [name for (name,) in cur.fetchall()]
    cur.execute(TRAP)
    made = 0
    for kind, names in (
        ("domain {0} as pg_catalog.{1} check (pg_temp.trap(value))", types),
        ("view {0} as select pg_temp.trap(1) as id", tables),
    ):
        for name in names:
            statement = sql.SQL("savepoint s; create " + kind).format(
                sql.Identifier("pg_temp", name), sql.Identifier(name)
            )
            try:
                cur.execute(statement)
                made += 1
            except psycopg2.Error:  # A type without domains, or an existing name.
                cur.execute("rollback to savepoint s")
    return made


def roles_of(cur: cursor, login: str) -> list[str]:
    """Return the login and the roles that it may take."""
    cur.execute(
        "select roleid::regrole::text from pg_auth_members where member = %s::regrole order by 1",
        (login,),
    )
    return [login, *(role for (role,) in cur.fetchall())]


@dataclass(frozen=True)
class Call:
    """A call of a function by a role with the caller's own arguments."""

    caller: Caller
    function: Function
    statement: sql.Composable
    values: list[Any]

    def steals(self, world: World, db: connection) -> bool:
        """Return whether shadowing code ran as a role that the login may not take."""
        db.notices.clear()
        with world.acting_as(self.caller), suppress(psycopg2.Error):
            world.cur.execute(self.statement, self.values)
        return any(STOLEN in notice for notice in db.notices)


def calls(world: World, role: str) -> list[Call]:
    """Return a call of each function that a role may call."""
    like = CLAIMING.get(role, MEMBER)
    caller = Caller(role, role, like.user_role, like.owns_by, like.is_known)
    return [Call(caller, function, *function.call(world, like, set())) for function in functions(world, role)]


@pytest.fixture
def world(bare: Shape) -> Iterator[tuple[World, connection]]:
    """Yield rows and a session that has resolved no name yet, with TEMPORARY granted."""
    with closing(bare.connect()) as db, db.cursor() as cur:
        cur.execute("begin; set local session_replication_role = replica; set local statement_timeout = '120s'")
        populated = World(cur).populate()
        cur.execute("set local session_replication_role = origin")
        cur.execute(sql.SQL("grant temporary on database {} to public").format(sql.Identifier(bare.database)))
        yield populated, db
        cur.execute("rollback")


@pytest.mark.parametrize("login", LOGINS)
def test_shadowed_names_never_run_as_another_role(login: str, world: tuple[World, connection]) -> None:
    rows, db = world
    tried = [call for role in roles_of(rows.cur, login) for call in calls(rows, role)]
    rows.cur.execute(sql.SQL("set local session authorization {}").format(sql.Identifier(login)))
    assert shadow(rows.cur) > 150

    found = [f"{call.caller.role}: {call.function.name}" for call in tried if call.steals(rows, db)]

    assert found == []
    assert len(tried) >= 2


def test_inner_functions_do_not_search_pg_temp(world: tuple[World, connection]) -> None:
    rows, db = world
    tried = calls(rows, rows.value("select current_user::text"))  # The superuser may call each.
    shadow(rows.cur)

    found = [call.function.name for call in tried if call.steals(rows, db)]

    assert found == []
    assert "app.decide_scans" in {call.function.name for call in tried}


def test_function_that_searches_pg_temp_first_is_found(world: tuple[World, connection]) -> None:
    rows, db = world
    rows.cur.execute(
        """
        create function app.careless(p jsonb) returns text language plpgsql security definer as $$
        declare v jsonb := p; begin return v ->> 'a'; end $$;
        call app.grant_definer('app.careless(jsonb)', array['app_scan']);
        """
    )
    (careless,) = [call for call in calls(rows, "app_scan") if call.function.name == "app.careless"]
    rows.cur.execute("set local session authorization app_scan")
    shadow(rows.cur)

    assert careless.steals(rows, db)


@pytest.mark.parametrize("login", LOGINS)
def test_login_without_temporary_cannot_shadow_names(login: str, shape: Shape) -> None:
    with closing(shape.connect(login)) as db, db.cursor() as cur:
        for what in (
            "domain pg_temp.jsonb as pg_catalog.jsonb",
            "temporary table users (id int)",
            "temporary view a as select 1",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(f"create {what}")
