"""Attempts of a caller to reach the rows of another party. Each returns whether it succeeded.

Writes have neither WHERE nor RETURNING, so that no SELECT policy hides a missing policy for writes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2.errors
from psycopg2 import sql

from tests.rls import rows
from tests.rls.rows import Table
from tests.rls.world import SHARED, Caller, World

OUT_OF_REACH = -1
"""Count of an attempt that lacked the privilege."""


def leaks(world: World, caller: Caller, table: Table) -> list[str]:
    """Return the successful attempts of a caller on the rows of others in a table."""
    if not caller.is_limited(table):
        return []
    own = world.own_count(caller, table)
    return [
        f"{caller.name} {name} {table.full_name}"
        for name, attempt in ATTEMPTS.items()
        if attempt(world, caller, table, own)
    ]


def touched(world: World, caller: Caller, statement: sql.Composable, params: Any = ()) -> int:
    """Return the number of rows that a statement counts or changes.

    A statement that a key, check or trigger stops has passed the policies: it counts as a million rows.
    """
    with world.acting_as(caller):
        try:
            world.cur.execute(statement, params)
        except psycopg2.errors.InsufficientPrivilege:
            return OUT_OF_REACH
        except psycopg2.errors.ObjectNotInPrerequisiteState:
            return OUT_OF_REACH  # A view that accepts no writes.
        except (psycopg2.IntegrityError, psycopg2.InternalError):
            return 1_000_000
        return int(world.cur.fetchone()[0]) if world.cur.description else world.cur.rowcount  # type: ignore[index]


def reads(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Return whether the caller reads more rows than their own, or rows of others."""
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
    """Return whether the caller updates more rows than their own."""
    return any(
        touched(world, caller, _update(table, column), (_existing_value(world, table, column),)) > max(own, 0)
        for column in _testable_columns(world.columns_for(caller, table, "UPDATE"), caller.column(table))
    )


def _testable_columns(columns: list[str], owner: str | None) -> Iterator[str]:
    # One column is enough, because policies are by row. The owner column has attempts of its own.
    others = [column for column in columns if column != owner]
    yield from others[:1]


def _existing_value(world: World, table: Table, column: str) -> Any:
    statement = sql.SQL("select {}::text from {} limit 1").format(sql.Identifier(column), table.identifier)
    return world.value(statement)


def _update(table: Table, column: str) -> sql.Composed:
    kind = sql.Identifier(table.columns[column][0])
    return sql.SQL("update {} set {} = %s::{}").format(table.identifier, sql.Identifier(column), kind)


def deletes(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Return whether the caller deletes more rows than their own."""
    return touched(world, caller, sql.SQL("delete from {}").format(table.identifier)) > max(own, 0)


def gives_rows_away(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Return whether the caller assigns their own rows to the other party."""
    column = caller.column(table)
    if column is None or column not in world.columns_for(caller, table, "UPDATE"):
        return False
    return touched(world, caller, _update(table, column), (str(caller.owner(table, world.theirs)),)) > 0


def takes_rows(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Return whether the caller assigns rows of the other party to themselves."""
    column = caller.column(table)
    if column is None or column not in world.columns_for(caller, table, "UPDATE"):
        return False
    return touched(world, caller, _update(table, column), (str(caller.owner(table, world.mine)),)) > own


def inserts_for_others(world: World, caller: Caller, table: Table, own: int) -> bool:
    """Return whether the caller inserts a row of the other party."""
    permitted = world.columns_for(caller, table, "INSERT")
    if not permitted or table.is_partition:
        return False
    row = {column: value for column, value in rows.values(table, world.theirs).items() if column in permitted}
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    marks = sql.SQL(", ").join(sql.Placeholder() * len(row))
    statement = sql.SQL("insert into {} ({}) values ({})").format(table.identifier, names, marks)
    return touched(world, caller, statement, list(row.values())) > 0


ATTEMPTS: dict[str, Callable[[World, Caller, Table, int], bool]] = {
    "reads rows of others in": reads,
    "changes rows of others in": changes,
    "deletes rows of others in": deletes,
    "gives rows away in": gives_rows_away,
    "takes rows of others in": takes_rows,
    "inserts rows for others into": inserts_for_others,
}
