"""Kinds of databases that the migrations support. Owners and default grants differ between them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import psycopg2
from psycopg2.extensions import connection, cursor

from scripts.devstack.postgres import SUPERUSER, PrivatePostgres
from tests.support.servers import Servers

MAKERS: dict[str, Callable[[Servers, str], None]] = {
    "bare": Servers.fresh_database,  # Bootstrapped PostgreSQL; migrated by a `postgres` that is no superuser.
    "superuser": Servers.superusers_database,  # Bootstrapped PostgreSQL; migrated by a superuser.
    "supabase": Servers.supabase_database,  # A Supabase project; migrated by its `postgres`.
}


@dataclass(frozen=True)
class Shape:
    """A migrated database of one shape."""

    name: str
    postgres: PrivatePostgres
    database: str

    def connect(self, user: str = SUPERUSER) -> connection:
        """Return a new connection in autocommit mode."""
        connected = psycopg2.connect(self.postgres.dsn(user, self.database))
        connected.autocommit = True
        return connected

    @contextmanager
    def undone(self) -> Iterator[cursor]:
        """Yield a cursor of the superuser in a transaction that is rolled back, with triggers and foreign keys off."""
        with self._superuser.cursor() as cur:
            cur.execute("begin; set local session_replication_role = replica; set local statement_timeout = '120s'")
            try:
                yield cur
            finally:
                cur.execute("rollback")

    @cached_property
    def _superuser(self) -> connection:
        # Shared by all tests: a new connection reads all catalogues again.
        return self.connect()


def make(servers: Servers, name: str) -> Shape:
    """Create a database of a shape."""
    database = f"{name}_{servers.worker}"
    MAKERS[name](servers, database)
    return Shape(name, servers.postgres, database)
