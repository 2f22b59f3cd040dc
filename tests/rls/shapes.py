"""The databases that ours has to be safe in: who owns what, and what is granted by itself, differs between them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import psycopg2
from psycopg2.extensions import connection, cursor

from scripts.devstack.postgres import SUPERUSER, PrivatePostgres
from tests.support.servers import Servers

MAKERS: dict[str, Callable[[Servers, str], None]] = {
    "bare": Servers.fresh_database,  # PostgreSQL with our bootstrap file; migrated by a `postgres` that is no superuser
    "superuser": Servers.superusers_database,  # the same, migrated by a superuser
    "supabase": Servers.supabase_database,  # a Supabase project, migrated by the `postgres` that it gives us
}


@dataclass(frozen=True)
class Shape:
    """A migrated database of one shape."""

    name: str
    postgres: PrivatePostgres
    database: str

    def connect(self, user: str = SUPERUSER) -> connection:
        """A connection of its own, in autocommit."""
        connected = psycopg2.connect(self.postgres.dsn(user, self.database))
        connected.autocommit = True
        return connected

    @contextmanager
    def undone(self) -> Iterator[cursor]:
        """A transaction of the superuser's, rolled back after the block; triggers and foreign keys are off in it."""
        with self._superuser.cursor() as cur:
            cur.execute("begin; set local session_replication_role = replica; set local statement_timeout = '120s'")
            try:
                yield cur
            finally:
                cur.execute("rollback")

    @cached_property
    def _superuser(self) -> connection:
        """One for all tests: a new one reads all catalogues anew."""
        return self.connect()


def make(servers: Servers, name: str) -> Shape:
    """The database of that shape, new."""
    database = f"{name}_{servers.worker}"
    MAKERS[name](servers, database)
    return Shape(name, servers.postgres, database)
