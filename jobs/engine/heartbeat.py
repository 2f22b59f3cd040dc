"""Signs of life: written by the loop that does the work, so a process that is alive and does nothing falls silent."""

import os
import socket
import time

from jobs.engine.ledger import Ledger

EVERY = 5.0
"""Seconds between two signs of life at the least."""


class Heartbeat:
    """The signs of life of one process, of the kind `relay`, `worker` or `clock`."""

    def __init__(self, kind: str, ledger: Ledger) -> None:
        self._kind = kind
        self._ledger = ledger
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._beaten_at = float("-inf")

    def beat(self) -> None:
        """Show that this process works, if it is time to.

        Raises:
            LedgerUnavailable: nobody can be told now.
        """
        if time.monotonic() - self._beaten_at < EVERY * 0.9:
            return
        self._ledger.beat(self._kind, self._process)
        self._beaten_at = time.monotonic()
