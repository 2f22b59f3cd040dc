"""The one way to the database: transactions that know who is asking.

Role, claims and time limit go to the server with the first statement of a transaction and last until it ends, so a
connection carries nothing over to the next caller and any pooler is safe. Without an identity there is no transaction,
and without a transaction every statement fails: the logins themselves may do nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import peewee
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import uuid_utils.compat

from models.core import context
from models.core.context import Identity, Login
from models.core.errors import Problem
from settings import settings

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]
psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)

DEFAULT_TIMEOUT = 10.0
"""Seconds that one transaction's statements may take each, unless the caller says otherwise."""

Statement = tuple[str, Sequence[Any]]
"""A statement that goes to the server in one message with another, and its parameters."""

_URLS: dict[Login, Callable[[], str]] = {
    "web": lambda: settings.database_url,
    "account": lambda: settings.database_account_url,
    "scan": lambda: settings.database_scan_url,
    "worker": lambda: settings.database_worker_url,
    "seal": lambda: settings.database_seal_url,
}

BEGIN = "BEGIN; SET LOCAL role = %s; SET LOCAL request.jwt.claims = %s; SET LOCAL statement_timeout = %s"
"""Of plain statements, which need no plan: they cost half of what `set_config` does."""
BEGIN_SESSION = BEGIN + "; SELECT app.require_session()"
BEGIN_API_KEY = BEGIN + "; SELECT app.require_api_key()"
_ASYNCHRONOUS = "; SET LOCAL synchronous_commit = off"
FLUSH: Statement = ("SELECT pg_logical_emit_message(true, '', '')", ())
"""A closing statement after which COMMIT waits for the disk even where nothing was written: what the transaction has
seen then outlives a crash of PostgreSQL."""
_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE


def connect(login: Login) -> psycopg2.extensions.connection:
    """Open a connection of its own for `login`, in autocommit; for loops that live outside `transaction`."""
    connection = psycopg2.connect(
        _URLS[login](),
        connect_timeout=3,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=20_000,  # ms; without it, what was sent into a dead network is waited for a quarter of an hour
        application_name=f"companon-{login}",
    )
    connection.autocommit = True
    return connection


class _State(peewee._ConnectionLocal):  # noqa: SLF001  (the only way to a state of one's own)
    """One thread's connection for one login, and how its transaction is to begin and end."""

    timeout = DEFAULT_TIMEOUT
    durable = True
    opening: Statement | None = None  # what begins the transaction, until its first statement has taken it along
    ahead: tuple[Statement, ...] = ()  # what goes to the server with the next statement, and before it
    closing: Statement | None = None


class ContextDatabase(peewee.PostgresqlDatabase):
    """A peewee database that connects, per thread, as the login of whoever is asking."""

    def __init__(self) -> None:
        # Without an identity it is a state that never connects: statements fail there.
        self._states: dict[Login | None, _State] = {login: _State() for login in (None, *_URLS)}
        super().__init__("companon", autoconnect=False)

    @property
    def _state(self) -> _State:
        identity = context.current()
        return self._states[identity.login if identity else None]

    @_state.setter
    def _state(self, _: object) -> None:
        """Peewee sets one state for all; ours are kept by login."""

    def _connect(self) -> psycopg2.extensions.connection:
        return connect(_identity().login)

    def begin(self, isolation_level: str | None = None) -> None:
        """Begin with the first statement, in one message with it: that saves a round trip."""
        identity = _identity()
        state = self._states[identity.login]
        claims = msgspec.json.encode(dict(identity.claims)).decode()
        sql = BEGIN_SESSION if identity.is_session else BEGIN_API_KEY if identity.is_api_key else BEGIN
        sql = sql if state.durable else sql + _ASYNCHRONOUS
        state.opening = (sql, (identity.role, claims, f"{max(1, state.timeout * 1000):.0f}"))

    def commit(self) -> None:
        state = self._state
        if state.opening:
            if not state.ahead and not state.closing and not _identity().is_checked:
                state.opening = None  # nothing was done, and nothing has to be found out
                return
            self.execute_sql("SELECT")
        last = (*state.ahead, state.closing) if state.closing else state.ahead
        state.ahead = ()
        self._send(*_together(state.conn, last, "COMMIT", None))

    def rollback(self) -> None:
        state = self._state
        state.ahead = ()
        if state.opening:
            state.opening = None
        elif not _is_lost(state):  # the server rolls a lost connection's work back by itself
            self._send("ROLLBACK", None)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        state = self._state
        opening, ahead = state.opening, state.ahead
        state.opening, state.ahead = None, ()
        if opening is None:
            return self._send(*_together(state.conn, ahead, sql, params))
        sql, params = _together(state.conn, (opening, *ahead), sql, params)
        try:
            return self._send(sql, params)
        except (peewee.DatabaseError, peewee.InterfaceError):
            # The connection had gone stale while idle; nothing has been done on it, so a new one may start over.
            if not _is_lost(state):
                raise
            state.conn = self._connect()
            return self._send(sql, params)

    def send_along(self, statement: Statement) -> None:
        """Keep a statement for the next message."""
        self._state.ahead += (statement,)

    def _send(self, sql: str, params: Any) -> Any:
        try:
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]
        except peewee.DatabaseError as error:
            refusal = _refusal(error)
            if refusal is not None:
                raise refusal from None
            raise

    def open(self) -> None:
        """Make sure that this thread has a connection for the current login."""
        state = self._state
        if not state.closed and not _is_lost(state):
            return
        self.discard()
        self.connect()

    def prepare(self, timeout: float, closing: Statement | None, durable: bool) -> None:
        """Say how this thread's next transaction is to begin and end."""
        state = self._state
        state.timeout, state.closing, state.durable = timeout, closing, durable
        state.opening, state.ahead = None, ()

    def discard(self) -> None:
        """Close this thread's connection without any word to the server; what it held is rolled back there."""
        connection = self._state.conn
        self._state.reset()
        if connection is not None:
            connection.close()

    def in_doubt(self) -> bool:
        """Anything but an idle connection: whoever takes it next must not find it so."""
        state = self._state
        return _is_lost(state) or state.conn.info.transaction_status != _IDLE


def _is_lost(state: _State) -> bool:
    return state.conn is None or bool(state.conn.closed)


def _together(conn: Any, ahead: Sequence[Statement], sql: str, params: Any) -> tuple[str, Any]:
    """One message of several statements; its answer is the last one's."""
    if not ahead:
        return sql, params
    text = "; ".join([before for before, _ in ahead])
    values = [value for _, before in ahead for value in before]
    if isinstance(params, Mapping):
        return f"{conn.cursor().mogrify(text, values).decode().replace('%', '%%')}; {sql}", params
    return f"{text}; {sql}", [*values, *(params or ())]


db = ContextDatabase()


class Row(peewee.Model):
    """Base of the tables' models. Their definition is the migrations; a test compares the two."""

    class Meta:
        """Where the table lives."""

        database = db
        schema = "public"
        legacy_table_names = False


@contextmanager
def transaction(
    identity: Identity, *, timeout: float = DEFAULT_TIMEOUT, closing: Statement | None = None, durable: bool = True
) -> Iterator[None]:
    """Run the block as `identity`, in one transaction.

    Args:
        identity: whose role and claims every statement has.
        timeout: seconds that a statement may take.
        closing: a statement that goes to the server in one message with COMMIT.
        durable: COMMIT waits for the disk. Otherwise a crash of PostgreSQL within the next moment (three times its
            `wal_writer_delay`, 0.6 s) takes back all of the transaction, as if it had never been.

    Raises:
        RuntimeError: this thread is in a transaction of that login already.
        Problem: the database refused (a session that has ended, a rule of a function).
        peewee.OperationalError: the database is out of reach, or took longer than `timeout`.
    """
    with context.acting_as(identity):
        if db.in_transaction():
            raise RuntimeError("a transaction of this login is open already; use db.atomic() for a part of it")
        db.open()
        db.prepare(timeout, closing, durable)
        try:
            with db.transaction():
                yield
        except Exception:
            raise
        except BaseException:
            # An interrupt may have struck between any two instructions: nothing is certain about this connection.
            db.discard()
            raise
        finally:
            if db.in_doubt():
                db.discard()


def rows(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
    """All rows of a query, as dicts."""
    cursor = db.execute_sql(sql, params)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def row(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
    """The first row of a query, or None."""
    return next(iter(rows(sql, params)), None)


def value(sql: str, params: Sequence[Any] = ()) -> Any:
    """The first column of the first row, or None."""
    first = db.execute_sql(sql, params).fetchone()
    return first[0] if first else None


def execute(sql: str, params: Sequence[Any] = ()) -> int:
    """Run a statement; how many rows it touched."""
    return int(db.execute_sql(sql, params).rowcount)


def send_along(sql: str, params: Sequence[Any] = ()) -> None:
    """Run a statement whose answer nobody waits for: in one message with the next one, or with COMMIT.

    What it raises, that one raises.
    """
    db.send_along((sql, params))


def after_commit(do: Callable[[], None]) -> None:
    """Have `do` called once the current transaction has committed. It must not raise."""
    db.after_commit(do)


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): unique without asking anybody, and in order of creation."""
    return uuid_utils.compat.uuid7()


def made_at(id: UUID) -> datetime | None:
    """When an id of version 7 was made, by the clock of whoever made it; None of any other, or after the year 9999."""
    if id.version != 7:
        return None
    with suppress(ValueError):
        return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
    return None


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def close_thread() -> None:
    """Close every connection of the calling thread."""
    for login in _URLS:
        with context.acting_as(Identity(login, "none")):
            db.discard()


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE behind a driver's error, also where peewee has wrapped the error."""
    for candidate in (error, error.__cause__, error.__context__, *error.args):
        state = getattr(candidate, "pgcode", None)
        if isinstance(state, str):
            return state
    return None


_LOSSES = (psycopg2.OperationalError, psycopg2.InterfaceError, peewee.OperationalError, peewee.InterfaceError)


def is_connection_loss(error: BaseException) -> bool:
    """Report whether a driver's error may mean that the server was not reached or the connection broke."""
    if isinstance(error, _LOSSES):
        return True
    # psycopg2 raises a plain DatabaseError if a connection breaks under a statement and libpq has no message for it.
    return type(error) in (psycopg2.DatabaseError, peewee.DatabaseError) and sqlstate(error) is None


def _identity() -> Identity:
    identity = context.current()
    if identity is None:
        raise RuntimeError("no identity: statements belong into a transaction(identity) block")
    return identity


def _refusal(error: peewee.DatabaseError) -> Problem | None:
    """The refusal that a function raised with SQLSTATE PTnnn (PostgREST's convention), if it was one."""
    cause = error.__cause__ or error.__context__ or getattr(error, "orig", None)
    code = getattr(cause, "pgcode", None) or ""
    if not code.startswith("PT"):
        return None
    said, status = cause.diag, int(code[2:])  # type: ignore[union-attr]
    return Problem.of_code(said.message_primary, said.message_detail or "", headers=_HEADERS.get(status))


_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}}
"""What belongs to a refusal of a function's, by its status."""
