"""What somebody may try in order to reach another's rows of a table. Each attempt says what it got hold of.

Writes are blind, without WHERE and RETURNING: then no SELECT policy stands in for a missing one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2.errors
from psycopg2 import sql

from tests.rls import rows
from tests.rls.rows import Table
from tests.rls.world import SHARED, Caller, World

OUT_OF_REACH = -1
"""What an attempt touched that was not permitted at all."""


def leaks(world: World, caller: Caller, table: Table) -> list[str]:
    """Every way in which the caller gets at rows that aren't their own."""
    if not caller.is_limited(table):
        return []
    own = world.own_count(caller, table)
    return [
        f"{caller.name} {name} {table.full_name}"
        for name, attempt in ATTEMPTS.items()
        if attempt(world, caller, table, own)
    ]


def touched(world: World, caller: Caller, statement: sql.Composable, params: Any = ()) -> int:
    """How many rows a statement counts or changes. What a key, check or trigger stops was past the policies: many."""
    with world.acting_as(caller):
        try:
            world.cur.execute(statement, params)
        except psycopg2.errors.InsufficientPrivilege:
            return OUT_OF_REACH
        except psycopg2.errors.ObjectNotInPrerequisiteState:
            return OUT_OF_REACH  # a view that can't be written to
        except (psycopg2.IntegrityError, psycopg2.InternalError):
            return 1_000_000
        return int(world.cur.fetchone()[0]) if world.cur.description else world.cur.rowcount  # type: ignore[index]


def reads(world: World, caller: Caller, table: Table, own: int) -> bool:
    """More rows than their own, or others."""
    if table.full_name in SHARED:
        return False
    if touched(world, caller, sql.SQL("select count(*) from {}").format(table.identifier)) > own:
        return True
    column = caller.column(table)
    if column is None:
        return False
    foreign = sql.SQL("select count(*) from {} where {} is distinct from %s")
    statement = foreign.format(table.identifier, sql.Identifier(column))
    return touched(world, caller, statement, (caller.owner(table, world.mine),)) > 0


def changes(world: World, caller: Caller, table: Table, own: int) -> bool:
    """More rows than their own."""
    return any(
        touched(world, caller, _update(table, column), (_present(world, table, column),)) > max(own, 0)
        for column in _one_of(world.columns_for(caller, table, "UPDATE"), caller.column(table))
    )


def _one_of(columns: list[str], owner: str | None) -> Iterator[str]:
    """One will do: policies are by row. Not whose it is, which is an attempt of its own."""
    others = [column for column in columns if column != owner]
    yield from others[:1]


def _present(world: World, table: Table, column: str) -> Any:
    """A value that fits."""
    statement = sql.SQL("select {}::text from {} limit 1").format(sql.Identifier(column), table.identifier)
    return world.value(statement)


def _update(table: Table, column: str) -> sql.Composed:
    kind = sql.Identifier(table.columns[column][0])
    return sql.SQL("update {} set {} = %s::{}").format(table.identifier, sql.Identifier(column), kind)


def deletes(world: World, caller: Caller, table: Table, own: int) -> bool:
    """More rows than their own."""
    return touched(world, caller, sql.SQL("delete from {}").format(table.identifier)) > max(own, 0)


def gives_away(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Their own rows become another's."""
    column = caller.column(table)
    if column is None or column not in world.columns_for(caller, table, "UPDATE"):
        return False
    return touched(world, caller, _update(table, column), (str(caller.owner(table, world.theirs)),)) > 0


def takes(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Another's rows become their own."""
    column = caller.column(table)
    if column is None or column not in world.columns_for(caller, table, "UPDATE"):
        return False
    return touched(world, caller, _update(table, column), (str(caller.owner(table, world.mine)),)) > own


def writes_in_anothers_name(world: World, caller: Caller, table: Table, own: int) -> bool:
    """A new row of somebody else's."""
    permitted = world.columns_for(caller, table, "INSERT")
    if not permitted or table.is_partition:
        return False
    row = {column: value for column, value in rows.values(table, world.theirs).items() if column in permitted}
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    marks = sql.SQL(", ").join(sql.Placeholder() * len(row))
    statement = sql.SQL("insert into {} ({}) values ({})").format(table.identifier, names, marks)
    return touched(world, caller, statement, list(row.values())) > 0


ATTEMPTS: dict[str, Callable[[World, Caller, Table, int], bool]] = {
    "reads others' rows of": reads,
    "changes others' rows of": changes,
    "deletes others' rows of": deletes,
    "gives rows away in": gives_away,
    "takes others' rows of": takes,
    "writes in another's name into": writes_in_anothers_name,
}
