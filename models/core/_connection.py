"""Connections of threads, and the statements that one message to the server carries.

Every message costs a round trip. BEGIN therefore waits for the first statement of its transaction, and a deferred
statement waits for the next one: they are sent together, and the server answers with the last one's result.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import msgspec
import peewee
import psycopg2
import psycopg2.extensions
import psycopg2.extras

from models.core import context
from models.core.context import Identity, Login
from models.core.errors import Problem
from settings import settings

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]
psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)

DEFAULT_TIMEOUT = 10.0
"""Default time limit of one statement, in seconds."""

Statement = tuple[str, Sequence[Any]]
"""SQL text and its parameters."""

URLS: dict[Login, Callable[[], str]] = {
    "web": lambda: settings.database_url,
    "account": lambda: settings.database_account_url,
    "scan": lambda: settings.database_scan_url,
    "worker": lambda: settings.database_worker_url,
    "seal": lambda: settings.database_seal_url,
}

BEGIN = "BEGIN; SET LOCAL role = %s; SET LOCAL request.jwt.claims = %s; SET LOCAL statement_timeout = %s"
"""Plain SET statements need no plan: they cost half as much as `set_config`."""
BEGIN_SESSION = BEGIN + "; SELECT app.require_session()"
BEGIN_API_KEY = BEGIN + "; SELECT app.require_api_key()"
FLUSH: Statement = ("SELECT pg_logical_emit_message(true, '', '')", ())
"""Closing statement that forces a WAL flush on a read-only commit: then all data that was read survives a crash."""

_ASYNCHRONOUS = "; SET LOCAL synchronous_commit = off"
_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}}
"""Response headers of an error that SQL raises, by its HTTP status."""


def connect(login: Login) -> psycopg2.extensions.connection:
    """Open a connection of its own for `login`, in autocommit mode; for loops outside `transaction`."""
    connection = psycopg2.connect(
        URLS[login](),
        connect_timeout=3,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=20_000,  # milliseconds; without it, a write to a dead network blocks for 15 minutes
        application_name=f"companon-{login}",
    )
    connection.autocommit = True
    with _opened_lock:
        _opened.add(connection)
    return connection


_opened: "WeakSet[psycopg2.extensions.connection]" = WeakSet()
_opened_lock = threading.Lock()


def open_connections() -> int:
    """Return the number of open connections of this process."""
    with _opened_lock:
        return sum(not connection.closed for connection in _opened)


class _State(peewee._ConnectionLocal):  # noqa: SLF001  (peewee offers no public way to extend the state)
    """Connection of one thread for one login, and the settings of its next transaction."""

    timeout = DEFAULT_TIMEOUT
    durable = True
    begin: Statement | None = None
    """BEGIN of the transaction, until it has been sent."""
    deferred: tuple[Statement, ...] = ()
    """Statements to send before the next one, in the same message."""
    closing: Statement | None = None
    """Statement to send in one message with COMMIT."""

    def take_pending(self) -> tuple[Statement, ...]:
        """Return the statements that the next message begins with, and clear them."""
        pending = (self.begin, *self.deferred) if self.begin else self.deferred
        self.begin, self.deferred = None, ()
        return pending

    @property
    def is_lost(self) -> bool:
        """Whether there is no open connection."""
        return self.conn is None or bool(self.conn.closed)


class ContextDatabase(peewee.PostgresqlDatabase):
    """Peewee database with one connection for each thread and login; the current identity chooses the login."""

    def __init__(self) -> None:
        # The state without a login never connects: without an identity every statement fails.
        self._states: dict[Login | None, _State] = {login: _State() for login in (None, *URLS)}
        super().__init__("companon", autoconnect=False)

    @property
    def _state(self) -> _State:
        identity = context.current()
        return self._states[identity.login if identity else None]

    @_state.setter
    def _state(self, _: object) -> None:
        """Ignore the single state that peewee assigns in its constructor."""

    def _connect(self) -> psycopg2.extensions.connection:
        return connect(_require_identity().login)

    def begin(self, isolation_level: str | None = None) -> None:
        """Prepare BEGIN; the first statement sends it."""
        identity = _require_identity()
        state = self._states[identity.login]
        claims = msgspec.json.encode(dict(identity.claims)).decode()
        sql = BEGIN_SESSION if identity.is_session else BEGIN_API_KEY if identity.is_api_key else BEGIN
        sql = sql if state.durable else sql + _ASYNCHRONOUS
        state.begin = (sql, (identity.role, claims, f"{max(1, state.timeout * 1000):.0f}"))

    def commit(self) -> None:
        """Send the deferred statements, the closing statement and COMMIT in one message."""
        state = self._state
        if state.begin:
            if not state.deferred and not state.closing and not _require_identity().is_checked:
                state.begin = None  # nothing was executed, and no session or API key has to be checked
                return
            # BEGIN goes in a message of its own: a message with COMMIT must not be sent twice.
            self.execute_sql("SELECT")
        pending = state.take_pending()
        last = (*pending, state.closing) if state.closing else pending
        self._send(*_join(state.conn, last, "COMMIT", None))

    def rollback(self) -> None:
        """Send ROLLBACK, unless the transaction has sent nothing or the server has ended it with the connection."""
        state = self._state
        was_sent = state.begin is None
        state.take_pending()
        if was_sent and not state.is_lost:
            self._send("ROLLBACK", None)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement, in one message with the pending ones.

        Raises:
            Problem: an SQL function refused the request.
            peewee.DatabaseError: the statement failed.
        """
        state = self._state
        is_first = state.begin is not None
        sql, params = _join(state.conn, state.take_pending(), sql, params)
        try:
            return self._send(sql, params)
        except (peewee.DatabaseError, peewee.InterfaceError):
            # The server had closed the idle connection. The transaction has done nothing, so it can begin on a new one.
            if not is_first or not state.is_lost:
                raise
            state.conn = self._connect()
            return self._send(sql, params)

    def defer(self, statement: Statement) -> None:
        """Keep a statement for the next message."""
        self._state.deferred += (statement,)

    def _send(self, sql: str, params: Any) -> Any:
        try:
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]
        except peewee.DatabaseError as error:
            refusal = _refusal(error)
            if refusal is not None:
                raise refusal from None
            raise

    def open(self) -> None:
        """Connect this thread for the current login, unless it is connected."""
        state = self._state
        if not state.closed and not state.is_lost:
            return
        self.discard()
        self.connect()

    def prepare(self, timeout: float, closing: Statement | None, durable: bool) -> None:
        """Set how this thread's next transaction begins and ends."""
        state = self._state
        state.timeout, state.closing, state.durable = timeout, closing, durable
        state.take_pending()

    def discard(self) -> None:
        """Close this thread's connection without a message; the server rolls its transaction back."""
        connection = self._state.conn
        self._state.reset()
        if connection is not None:
            connection.close()

    def is_reusable(self) -> bool:
        """Return whether this thread's connection is open and idle, so that the next transaction may use it."""
        state = self._state
        return not state.is_lost and state.conn.info.transaction_status == _IDLE


def _join(conn: Any, pending: Sequence[Statement], sql: str, params: Any) -> tuple[str, Any]:
    """Return one message with all statements; its result is that of the last one."""
    if not pending:
        return sql, params
    text = "; ".join([before for before, _ in pending])
    values = [value for _, before in pending for value in before]
    if isinstance(params, Mapping):
        # psycopg2 takes positional or named parameters, not both: insert the positional ones now.
        return f"{conn.cursor().mogrify(text, values).decode().replace('%', '%%')}; {sql}", params
    return f"{text}; {sql}", [*values, *(params or ())]


def _require_identity() -> Identity:
    identity = context.current()
    if identity is None:
        raise RuntimeError("no identity: statements must run in a transaction(identity) block")
    return identity


def _refusal(error: peewee.DatabaseError) -> Problem | None:
    """Return the registered exception of an SQL function's error (SQLSTATE PTnnn), or None for any other error."""
    cause = error.__cause__ or error.__context__ or getattr(error, "orig", None)
    state = getattr(cause, "pgcode", None) or ""
    if not state.startswith("PT"):
        return None
    diagnostics = cause.diag  # type: ignore[union-attr]
    detail, headers = diagnostics.message_detail or "", _HEADERS.get(int(state[2:]))
    return Problem.of_code(diagnostics.message_primary, detail, headers=headers)
