"""Hold an advisory lock while a worker process is alive. PostgreSQL releases it when the process dies.

Each process has its own session for the lock. A stalled interpreter keeps the lock. After `kill -9` it is released
within milliseconds. No clocks are compared, and nothing is written while the worker is healthy.
"""

import logging
import select
import socket
import threading
from collections.abc import Callable

import psycopg2

from jobs.engine.ledger import Ledger, LedgerUnavailable
from models.core.database import connect

log = logging.getLogger(__name__)

_CHECK = 5.0  # seconds between two checks of a silent connection
_RETRY = 0.2  # seconds
# The server probes a silent client and releases the lock 14 s after the client's machine has failed.
_KEEPALIVES = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"


class Liveness:
    """Holds the advisory lock of one worker process, and acquires it again when the connection is lost."""

    def __init__(self) -> None:
        self.worker_id = 0
        self._held = threading.Event()
        self._on_held: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._hold, name="liveness", daemon=True)

    def start(self, on_held: Callable[[], None] = lambda: None) -> int:
        """Register the worker, hold its lock, and return its number. Claims under this number are safe from now on.

        `on_held` is called each time the lock is acquired: more than once only after a lost connection.
        """
        self._on_held = on_held
        self._thread.start()
        self._held.wait()
        return self.worker_id

    def stop(self) -> None:
        """Release the lock."""
        self._stopping.set()
        self._wake.close()
        self._thread.join(_CHECK)

    def _hold(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hold_once()
            except (psycopg2.Error, LedgerUnavailable) as error:
                log.warning("liveness connection lost: %s", str(error).strip())
                self._stopping.wait(_RETRY)

    def _hold_once(self) -> None:
        if not self.worker_id:
            ledger = Ledger()
            self.worker_id = ledger.register_worker()
            ledger.close()
        connection = connect("worker")
        try:
            with connection.cursor() as cursor:
                cursor.execute(_KEEPALIVES)
                cursor.execute("SELECT pg_advisory_lock(app.liveness_class(), %s)", (self.worker_id,))
            self._held.set()
            self._on_held()
            while not self._stopping.is_set():
                readable, _, _ = select.select([connection.fileno(), self._woken.fileno()], [], [], _CHECK)
                if connection.fileno() in readable:
                    connection.poll()  # Raises if the server has closed the connection. A notice raises nothing.
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
        finally:
            connection.close()
