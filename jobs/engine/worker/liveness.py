"""A worker process shows that it lives by a lock that PostgreSQL lets go of when it dies.

The lock belongs to a session of the process's own: it is held through any stall of the interpreter, and it is gone
milliseconds after kill -9. No clocks are compared and nothing has to be written while all is well.
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

_CHECK = 5.0  # seconds between two looks at a connection that says nothing
_RETRY = 0.2
# The server asks whether the machine at the other end is still there, and lets go of the lock 14 s after it isn't.
_NOTICED = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"


class Liveness:
    """Holds the advisory lock of one worker process, and takes it again whenever the connection is lost."""

    def __init__(self) -> None:
        self.worker_id = 0
        self._held = threading.Event()
        self._is_held: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._hold, name="liveness", daemon=True)

    def start(self, is_held: Callable[[], None] = lambda: None) -> int:
        """Get a number, hold its lock, and return it: what is claimed under it is safe from now on.

        `is_held` is called whenever the lock has been taken: more than once only after an outage.
        """
        self._is_held = is_held
        self._thread.start()
        self._held.wait()
        return self.worker_id

    def stop(self) -> None:
        """Let the lock go."""
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
                cursor.execute(_NOTICED)
                cursor.execute("SELECT pg_advisory_lock(app.liveness_class(), %s)", (self.worker_id,))
            self._held.set()
            self._is_held()
            while not self._stopping.is_set():
                readable, _, _ = select.select([connection.fileno(), self._woken.fileno()], [], [], _CHECK)
                if connection.fileno() in readable:
                    connection.poll()  # raises when the server has gone; a plain notice does not
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
        finally:
            connection.close()
