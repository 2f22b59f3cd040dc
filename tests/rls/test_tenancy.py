"""Nobody reads or changes what is another's: every table and view, found by itself, as every kind of caller."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg2.errors
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from models.db import connect
from tests.rls import rows
from tests.rls.rows import Table

BRAND_ROLES = ["Brand Admin", "Campaign Manager", "Creator"]


@dataclass(frozen=True)
class Party:
    """A brand and one of its people."""

    brand_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class Caller:
    """A database role with claims, and the column by which it owns rows."""

    name: str
    login: str
    role: str
    user_role: str | None
    owns_by: str

    def column(self, table: Table) -> str | None:
        """The column of `table` that says whose a row is, for this caller."""
        personal = table.full_name in ("public.consents", "public.consent_events")
        if table.full_name == "public.users":
            return "id" if self.role in ("authenticated", "app_fan") else "brand_id"
        if table.full_name == "public.brands":
            return "id" if self.owns_by == "brand_id" else None
        if self.role == "authenticated" and personal:
            return "user_id"
        return self.owns_by if self.owns_by in table.columns else None

    def owner(self, table: Table, party: Party) -> UUID:
        """What that column says in the party's own rows."""
        column = self.column(table)
        if table.full_name == "public.brands" or column == "brand_id":
            return party.brand_id
        return party.user_id


CALLERS = [
    *(Caller(role, "web", "authenticated", role, "brand_id") for role in BRAND_ROLES),
    Caller("a fan", "web", "app_fan", "Fan", "user_id"),
    Caller("a brand's job", "worker", "app_job", None, "brand_id"),
]


@dataclass(frozen=True)
class World:
    """Two parties with a row each in every table that belongs to somebody."""

    mine: Party
    theirs: Party
    tables: list[Table]


@pytest.fixture
def world(db_clean: str, superuser: connection) -> World:
    world = World(Party(uuid4(), uuid4()), Party(uuid4(), uuid4()), rows.tables(superuser))
    for party in (world.mine, world.theirs):
        rows.seed(superuser, world.tables, party.brand_id, party.user_id)
    return world


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def session(caller: Caller, world: World) -> Iterator[cursor]:
    """A transaction as the caller, of the party that is `mine`."""
    connected = connect(caller.login)  # type: ignore[arg-type]
    claims = {"sub": str(world.mine.user_id), "app_metadata": {"user_role": caller.user_role}}
    if caller.owns_by == "brand_id":
        claims["app_metadata"]["brand_id"] = str(world.mine.brand_id)  # type: ignore[index]
    with connected.cursor() as cur:
        cur.execute("begin")
        cur.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (caller.role, psycopg2.extras.Json(claims).dumps(claims)),
        )
        yield cur
    connected.close()


def attempt(cur: cursor, statement: sql.Composable, params: tuple[object, ...] = ()) -> int | None:
    """How many rows a statement touched, or None if it was not permitted; undone either way."""
    cur.execute("savepoint attempt")
    try:
        cur.execute(statement, params)
        touched = cur.fetchone()[0] if cur.description else cur.rowcount  # type: ignore[index]
    except psycopg2.errors.InsufficientPrivilege:
        touched = None
    finally:
        cur.execute("rollback to savepoint attempt")
    return touched


def owned(caller: Caller, world: World) -> list[tuple[Table, str]]:
    return [(t, column) for t in world.tables if (column := caller.column(t))]


def test_the_test_is_not_vacuous(world: World, superuser: connection) -> None:
    with superuser.cursor() as cur:
        for table in world.tables:
            for caller in CALLERS:
                if column := caller.column(table):
                    where = sql.SQL("select count(*) from {} where {} = %s").format(
                        table.identifier, sql.Identifier(column)
                    )
                    cur.execute(where, (caller.owner(table, world.theirs),))
                    assert cur.fetchone()[0] > 0, f"nothing of theirs in {table.full_name} by {column}"  # type: ignore[index]


def test_nobody_sees_a_row_of_another(caller: Caller, world: World, session: cursor) -> None:
    seen = 0
    for table, column in owned(caller, world):
        foreign = sql.SQL("select count(*) from {} where {} is distinct from %s").format(
            table.identifier, sql.Identifier(column)
        )
        own = sql.SQL("select count(*) from {}").format(table.identifier)
        mine = caller.owner(table, world.mine)
        assert attempt(session, foreign, (mine,)) in (0, None), f"{caller.name} sees foreign rows of {table.full_name}"
        seen += attempt(session, own) or 0
    assert seen > 0


def test_nobody_changes_a_row_of_another(caller: Caller, world: World, session: cursor) -> None:
    for table, column in owned(caller, world):
        theirs = caller.owner(table, world.theirs)
        for changed in table.columns:
            update = sql.SQL(
                "with touched as (update {0} set {1} = {1} returning {2}) select count(*) from touched where {2} = %s"
            )
            statement = update.format(table.identifier, sql.Identifier(changed), sql.Identifier(column))
            if not table.is_view:
                assert attempt(session, statement, (theirs,)) in (0, None), f"{table.full_name}.{changed}"


def test_nobody_deletes_a_row_of_another(caller: Caller, world: World, session: cursor) -> None:
    for table, column in owned(caller, world):
        if not table.is_view:
            statement = sql.SQL("delete from {} where {} = %s").format(table.identifier, sql.Identifier(column))
            assert attempt(session, statement, (caller.owner(table, world.theirs),)) in (0, None), table.full_name


def test_nobody_gives_a_row_to_another(caller: Caller, world: World, session: cursor) -> None:
    for table, column in owned(caller, world):
        if not table.is_view:
            statement = sql.SQL("update {0} set {1} = %s where {1} = %s").format(
                table.identifier, sql.Identifier(column)
            )
            parties = (caller.owner(table, world.theirs), caller.owner(table, world.mine))
            assert attempt(session, statement, parties) in (0, None), f"{caller.name} moves rows of {table.full_name}"


def test_nobody_writes_a_row_in_another_s_name(caller: Caller, world: World, session: cursor) -> None:
    for table, _ in owned(caller, world):
        if not table.is_view:
            row = rows.values(table, **rows.owned_by(table, world.theirs.brand_id, world.theirs.user_id))
            session.execute("savepoint attempt")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                rows.insert(session, table, row)
            session.execute("rollback to savepoint attempt")


@pytest.mark.parametrize("login", ["web", "admin", "scan", "worker"])
def test_a_login_by_itself_may_read_no_table(login: str, world: World) -> None:
    connected = connect(login)  # type: ignore[arg-type]
    try:
        with connected.cursor() as cur:
            for table in world.tables:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cur.execute(sql.SQL("select 1 from {} limit 1").format(table.identifier))
    finally:
        connected.close()
