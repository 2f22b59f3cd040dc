"""What requests leave behind: a mark for every table that changes with any row written, changed or deleted in it."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg2 import sql
from psycopg2.extensions import connection

FROM_REFUSALS = ("public.audit_logs", "app.audit_personal_values", "app.sign_in_attempts", "app.scan_refusals")
"""Where refused requests are written down or counted, and are meant to be."""


@dataclass(frozen=True)
class Marks:
    """The marks of all tables, and how many transactions had begun to write in the whole server."""

    writers: int
    tables: dict[str, list[int]]


class Traces:
    """Looks at all tables at once."""

    def __init__(self, superuser: connection) -> None:
        self._connection = superuser
        self._name = sql.Identifier(f"traces_{uuid4().hex}")
        with superuser.cursor() as cursor:
            marks = [_mark(schema, table) for schema, table in _tables(cursor)]
            query = sql.SQL(" union all ").join(marks)
            cursor.execute(
                sql.SQL("prepare {} as select json_object_agg(name, mark) from ({}) as marks").format(self._name, query)
            )

    def look(self) -> Marks:
        """The marks, as they are now."""
        with self._connection.cursor() as cursor:
            writers = _writers(cursor)
            cursor.execute(sql.SQL("execute {}").format(self._name))
            (tables,) = cursor.fetchone() or ({},)
            return Marks(writers, tables)

    def since(self, before: Marks) -> list[str]:
        """The tables in which anything has been written since."""
        with self._connection.cursor() as cursor:
            if _writers(cursor) == before.writers:
                return []  # most of the time, and for a tenth of the work
        now = self.look().tables
        return sorted(name for name in now if now[name] != before.tables[name])


def _writers(cursor: Any) -> int:
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
    return [(schema, table) for schema, table in cursor.fetchall() if f"{schema}.{table}" not in FROM_REFUSALS]


def _mark(schema: str, table: str) -> sql.Composed:
    return sql.SQL("select {} as name, array[count(*), coalesce(sum(xmin::text::bigint), 0)] as mark from {}").format(
        sql.Literal(f"{schema}.{table}"), sql.Identifier(schema, table)
    )
