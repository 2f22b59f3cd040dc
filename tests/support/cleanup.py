"""Empty the tables that a test has filled."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection

REFERENCE = ["roles", "permissions", "role_permissions", "consent_notices"]
"""Tables whose rows come with the migrations."""
TABLES = """
select c.oid::regclass::text from pg_class c
where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace::regnamespace::text in ('public', 'app')
    and c.relname <> all (%s)
"""
FILLED = "select '{table}' where exists (select from {table})"
SIZES = """
select t, greatest(pg_relation_size(t::regclass), (select sum(pg_relation_size(relid)) from pg_partition_tree(t)))
from unnest(%s) as filled (t)
"""
SMALL = 262144
"""Bytes up to which rows are deleted. Truncating creates new files for the table and each of its indexes."""


class Cleaner:
    """Empties tables through a connection of a superuser, which has to be the cleaner's own."""

    def __init__(self, superuser: connection) -> None:
        self._cursor = superuser.cursor()
        self._cursor.execute("select tgrelid::regclass::text, tgname from pg_trigger where tgenabled = 'A'")
        self._always = self._cursor.fetchall()
        # Disabling them during each clean-up instead would invalidate the plans of every connection.
        self._enable_triggers("")
        # As a replica, because foreign keys and triggers that forbid deletion would refuse it otherwise. Set once:
        # each change of this setting discards all plans of the connection.
        self._cursor.execute("set session_replication_role = replica")
        self._cursor.execute(TABLES, [REFERENCE])
        probes = [FILLED.format(table=table) for (table,) in self._cursor.fetchall()]
        # Prepared once, because planning this statement takes 50 times as long as running it.
        self._cursor.execute("prepare filled_tables as " + " union all ".join(probes))

    def clean(self) -> None:
        """Empty every table that has rows, and touch no other."""
        self._cursor.execute("execute filled_tables")
        filled = [table for (table,) in self._cursor.fetchall()]
        if filled:
            self._cursor.execute(SIZES, [filled])
            commands = [
                f"truncate {table} cascade" if size > SMALL else f"delete from {table}"
                for table, size in self._cursor.fetchall()
            ]
            self._cursor.execute("; ".join(commands))

    @contextmanager
    def always_triggers(self) -> Iterator[None]:
        """Let the triggers that migrations enable always fire for replicas too, as they do outside tests."""
        self._enable_triggers("always ")
        try:
            yield
        finally:
            self._enable_triggers("")

    def _enable_triggers(self, mode: str) -> None:
        for table, trigger in self._always:
            self._cursor.execute(f'alter table {table} enable {mode}trigger "{trigger}"')
