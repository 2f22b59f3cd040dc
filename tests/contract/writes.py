"""Detect database writes: compare one mark per table before and after a request."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg2 import sql
from psycopg2.extensions import connection

WRITTEN_BY_REFUSALS = ("public.audit_logs", "app.audit_personal_values", "app.sign_in_attempts", "app.scan_refusals")
"""Tables that record or count refused requests. They are not compared."""


@dataclass(frozen=True)
class Snapshot:
    """The marks of all tables, and the newest transaction id of the server."""

    newest_transaction: int
    tables: dict[str, list[int]]


class Writes:
    """Compares all tables with one prepared query."""

    def __init__(self, superuser: connection) -> None:
        self._connection = superuser
        self._name = sql.Identifier(f"writes_{uuid4().hex}")
        with superuser.cursor() as cursor:
            marks = [_mark(schema, table) for schema, table in _tables(cursor)]
            query = sql.SQL(" union all ").join(marks)
            cursor.execute(
                sql.SQL("prepare {} as select json_object_agg(name, mark) from ({}) as marks").format(self._name, query)
            )

    def snapshot(self) -> Snapshot:
        """Return the current marks."""
        with self._connection.cursor() as cursor:
            newest = _newest_transaction(cursor)
            cursor.execute(sql.SQL("execute {}").format(self._name))
            (tables,) = cursor.fetchone() or ({},)
            return Snapshot(newest, tables)

    def tables_changed_since(self, before: Snapshot) -> list[str]:
        """Return the tables with a row written, changed or deleted since a snapshot."""
        with self._connection.cursor() as cursor:
            # The usual case, for a tenth of the work: no transaction has written since.
            if _newest_transaction(cursor) == before.newest_transaction:
                return []
        now = self.snapshot().tables
        return sorted(name for name in now if now[name] != before.tables[name])


def _newest_transaction(cursor: Any) -> int:
    cursor.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return int(cursor.fetchone()[0])


def _tables(cursor: Any) -> list[tuple[str, str]]:
    cursor.execute(
        """
        select relnamespace::regnamespace::text, relname from pg_class
        where relkind in ('r', 'p') and not relispartition and relnamespace::regnamespace::text in ('public', 'app')
        order by 1, 2
        """
    )
    return [(schema, table) for schema, table in cursor.fetchall() if f"{schema}.{table}" not in WRITTEN_BY_REFUSALS]


def _mark(schema: str, table: str) -> sql.Composed:
    return sql.SQL("select {} as name, array[count(*), coalesce(sum(xmin::text::bigint), 0)] as mark from {}").format(
        sql.Literal(f"{schema}.{table}"), sql.Identifier(schema, table)
    )
