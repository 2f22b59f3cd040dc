"""Tests of tenancy notice every widened policy, grant and row-level-security switch, at its table."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from psycopg2 import sql

from tests.rls.attempts import leaks
from tests.rls.rows import Table
from tests.rls.shapes import Shape
from tests.rls.world import MEMBER, OF_ROLE, SHARED, Caller, World

pytestmark = pytest.mark.slow

HALVES = {
    "r": ["using (true)"],
    "d": ["using (true)"],
    "a": ["with check (true)"],
    "w": ["using (true) with check (true)", "using (true)", "with check (true)"],
}
"""Mutations of a policy by its command (`pg_policy.polcmd`)."""
GRANTS = {"r": "select", "a": "insert", "w": "update", "d": "delete"}


@dataclass(frozen=True)
class Policy:
    """A policy in the catalogue."""

    table: Table
    name: str
    role: str
    command: str
    is_open: bool


@pytest.fixture
def world(bare: Shape) -> Iterator[World]:
    with bare.undone() as cur:
        yield World(cur).populate()


def policies(world: World) -> list[Policy]:
    """Return all policies."""
    by_name = {table.full_name: table for table in world.tables}
    world.cur.execute(
        """
        select c.relnamespace::regnamespace || '.' || c.relname, p.polname, p.polroles[1]::regrole::text, p.polcmd,
            'true' in (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
        from pg_policy p join pg_class c on c.oid = p.polrelid
        where c.relnamespace::regnamespace::text in ('public', 'app', 'app_partitions')
        """
    )
    return [Policy(by_name[table], *rest) for table, *rest in world.cur.fetchall()]


def survives(world: World, caller: Caller, table: Table, *mutation: sql.Composable) -> bool:
    """Return whether the attempts miss a mutation of a table."""
    with world.undone():
        for statement in mutation:
            world.cur.execute(statement)
        return not leaks(world, caller, table)


def owner_is_writable(world: World, caller: Caller, table: Table) -> bool:
    return caller.column(table) in world.columns_for(caller, table, "UPDATE")


def altered(policy: Policy, to: str) -> sql.Composable:
    statement = sql.SQL("alter policy {} on {} {}")
    return statement.format(sql.Identifier(policy.name), policy.table.identifier, sql.SQL(to))


def test_policy_with_true_predicate_is_found(world: World) -> None:
    found = [policy for policy in policies(world) if not policy.is_open]
    assert len(found) >= 50
    for policy in found:
        caller = OF_ROLE[policy.role]
        for predicate in HALVES[policy.command]:
            if predicate == HALVES[policy.command][0] or owner_is_writable(world, caller, policy.table):
                assert not survives(world, caller, policy.table, altered(policy, predicate)), f"{policy}: {predicate}"


def test_open_policy_granted_to_members_is_found(world: World) -> None:
    for policy in policies(world):
        if policy.is_open and not (policy.table.full_name in SHARED and policy.command == "r"):
            widened = altered(policy, "to authenticated")
            granted = sql.SQL("grant {} on {} to authenticated").format(
                sql.SQL(GRANTS[policy.command]), policy.table.identifier
            )
            assert not survives(world, MEMBER, policy.table, widened, granted), str(policy)


def test_disabled_row_level_security_is_found(world: World) -> None:
    tried = 0
    for table in world.tables:
        for caller in OF_ROLE.values():
            if table.takes_rows and caller.is_limited(table) and world.columns_for(caller, table, "SELECT"):
                off = sql.SQL("alter table {} disable row level security").format(table.identifier)
                assert not survives(world, caller, table, off), f"{caller.name}: {table.full_name}"
                tried += 1
    assert tried >= 40


def test_grant_without_policy_is_found(world: World) -> None:
    for table in world.tables:
        if table.kind in "rp" and table.full_name not in SHARED and not table.is_partition:
            for privilege in ("select", "update", "delete"):
                off = sql.SQL("alter table {} disable row level security").format(table.identifier)
                grant = sql.SQL("grant {} on {} to authenticated").format(sql.SQL(privilege), table.identifier)
                assert not survives(world, MEMBER, table, off, grant), f"{privilege} on {table.full_name}"


def test_view_with_rights_of_owner_is_found(world: World) -> None:
    for table in world.tables:
        if table.kind == "v":
            with_owners = sql.SQL("alter view {} reset (security_invoker)").format(table.identifier)
            granted = sql.SQL("grant select on {} to authenticated").format(table.identifier)
            assert not survives(world, MEMBER, table, with_owners, granted), table.full_name
