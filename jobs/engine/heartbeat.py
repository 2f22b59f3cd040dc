"""Heartbeats. The loop that does the work writes them, so a process that is alive but stuck has none."""

import os
import socket
import time

from jobs.engine.ledger import Ledger

EVERY = 5.0
"""Maximum seconds between two heartbeats."""


class Heartbeat:
    """The heartbeats of one process, of the kind `relay`, `worker` or `clock`; of a worker, for one of its queues."""

    def __init__(self, kind: str, ledger: Ledger, queue: str = "") -> None:
        self._kind = kind
        self._queue = queue
        self._ledger = ledger
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._beaten_at = float("-inf")

    def beat(self) -> None:
        """Record a heartbeat if one is due.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        if time.monotonic() - self._beaten_at < EVERY * 0.9:
            return
        self._ledger.beat(self._kind, self._process, self._queue)
        self._beaten_at = time.monotonic()
