"""Transactions that run as an identity, queries, and ids.

The first statement of a transaction sends the role, the claims and the time limit. They last until the transaction
ends, so a connection carries nothing over to the next caller, and transaction poolers are safe. Without an identity
there is no transaction. Outside a transaction every statement fails, because the logins themselves have no rights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import peewee
import psycopg2
import uuid_utils.compat

from models.core import context
from models.core._connection import BEGIN as BEGIN
from models.core._connection import BEGIN_SESSION as BEGIN_SESSION
from models.core._connection import DEFAULT_TIMEOUT, URLS, ContextDatabase
from models.core._connection import FLUSH as FLUSH
from models.core._connection import Statement as Statement
from models.core._connection import connect as connect
from models.core._connection import open_connections as open_connections
from models.core.context import Identity

db = ContextDatabase()


class Row(peewee.Model):
    """Base class of table models. The migrations define the tables; a test compares the models with them."""

    class Meta:
        """Options of peewee."""

        database = db
        schema = "public"
        legacy_table_names = False

    if TYPE_CHECKING:
        # The stubs type `delete` as a generic variable of the class, and mypy refuses every use of it.
        delete: Callable[[], peewee.ModelDelete]


@contextmanager
def transaction(
    identity: Identity, *, timeout: float = DEFAULT_TIMEOUT, closing: Statement | None = None, durable: bool = True
) -> Iterator[None]:
    """Run the block as `identity`, in one transaction.

    Args:
        identity: gives the login, the role and the claims of every statement.
        timeout: time limit of each statement, in seconds.
        closing: a statement that is sent in one message with COMMIT.
        durable: whether COMMIT waits for the disk. If not, a crash of PostgreSQL within 0.6 seconds after COMMIT (three
            times its `wal_writer_delay`) may lose the whole transaction.

    Raises:
        RuntimeError: this thread already has an open transaction of that login.
        Problem: the session or API key is no longer valid, or an SQL function refused the request.
        peewee.OperationalError: the database can't be reached, or a statement exceeded `timeout`.
    """
    with context.acting_as(identity):
        if db.in_transaction():
            raise RuntimeError("a transaction of this login is already open; use db.atomic() for a savepoint in it")
        db.open()
        db.prepare(timeout, closing, durable)
        try:
            with db.transaction():
                yield
        except Exception:
            raise  # `finally` decides whether the connection may be used again
        except BaseException:
            # An interrupt can be raised between any two instructions: the state of the connection is unknown.
            db.discard()
            raise
        finally:
            if not db.is_reusable():
                db.discard()


def rows(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
    """Return all rows of a query, as dicts."""
    cursor = db.execute_sql(sql, params)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def row(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
    """Return the first row of a query, or None."""
    return next(iter(rows(sql, params)), None)


def value(sql: str, params: Sequence[Any] = ()) -> Any:
    """Return the first column of the first row, or None."""
    first = db.execute_sql(sql, params).fetchone()
    return first[0] if first else None


def execute(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
    """Execute a statement and return the number of rows that it changed."""
    return int(db.execute_sql(sql, params).rowcount)


def execute_deferred(sql: str, params: Sequence[Any] = ()) -> None:
    """Send a statement together with the next statement or with COMMIT. Its result is discarded.

    If it fails, that next statement or COMMIT raises its error.
    """
    db.defer((sql, params))


def after_commit(callback: Callable[[], None]) -> None:
    """Call `callback` after the current transaction has committed. It must not raise."""
    db.after_commit(callback)


def new_id() -> UUID:
    """Return a UUID of version 7 (RFC 9562): unique without coordination, and ordered by creation time."""
    return uuid_utils.compat.uuid7()


def uuid7_time(id: UUID) -> datetime | None:
    """Return the creation time in a UUID of version 7, by its creator's clock.

    None for another version and for a time after the year 9999.
    """
    if id.version != 7:
        return None
    with suppress(ValueError):
        return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
    return None


def now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


def close_thread_connections() -> None:
    """Close every connection of the calling thread."""
    for login in URLS:
        with context.acting_as(Identity(login, "none")):
            db.discard()


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE behind a driver's error, also where peewee has wrapped the error."""
    for candidate in (error, error.__cause__, error.__context__, *error.args):
        state = getattr(candidate, "pgcode", None)
        if isinstance(state, str):
            return state
    return None


def denied_access(error: BaseException) -> str | None:
    """Return PostgreSQL's message for a denied access (42501), which names objects and no values; None otherwise."""
    for candidate in (error, error.__cause__, error.__context__, *error.args):
        if isinstance(candidate, psycopg2.Error) and candidate.pgcode == "42501":
            return candidate.diag.message_primary
    return None


_LOSSES = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    peewee.OperationalError,
    peewee.InterfaceError,
)


def is_connection_loss(error: BaseException) -> bool:
    """Return whether a driver's error may mean that the server was not reached or the connection broke."""
    if isinstance(error, _LOSSES):
        return True
    # psycopg2 raises a plain DatabaseError if a connection breaks under a statement and libpq has no message for it.
    return type(error) in (psycopg2.DatabaseError, peewee.DatabaseError) and sqlstate(error) is None
