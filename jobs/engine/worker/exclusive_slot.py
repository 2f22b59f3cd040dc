"""Count the jobs that a worker process holds, and give the process to one quarantined job at a time.

A job whose worker died while holding it is quarantined: it may have killed the worker. It runs when its process holds
nothing else, so that the next death is charged to it alone. A busy process gives its quarantined jobs priority after
`PATIENCE` seconds: it claims nothing more until it is empty, and then runs quarantined jobs, one by one, for a limited
time.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds that a quarantined job waits for its process to become empty by chance."""
PRIORITY_SECONDS = 2.0
"""Seconds that quarantined jobs have priority once the process is empty. After that other jobs have priority again."""
REQUEST_EXPIRES = 3.0
"""Seconds after which a request that is not repeated is void."""


class ExclusiveSlot:
    """The jobs held by one process. Shared by its consumers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._claiming = 0
        self._is_exclusive = False
        self._requested_since = 0.0
        self._requested_at = 0.0
        self._priority_until = 0.0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Claim several jobs within the block. Wait while a quarantined job has the process for itself."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive)
            self._claiming += 1
        try:
            yield
        finally:
            with self._changed:
                self._claiming -= 1
                self._changed.notify_all()

    def wait_for_shared(self, timeout: float) -> bool:
        """Wait until shared jobs may be fetched. Return False if they may not be within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._is_exclusive or self._has_quarantine_priority()), timeout)

    def try_exclusive(self) -> bool:
        """Reserve the process for one quarantined job if it is empty now. End the reservation with `settle`.

        Repeated calls make the process stop fetching until it is empty.
        """
        with self._changed:
            now = time.monotonic()
            if self._held or self._claiming or self._is_exclusive:
                self._request_exclusive(now)
                return False
            self._start_priority(now)
            self._is_exclusive = True
            return True

    def settle(self, *, exclusive: bool) -> None:
        """Keep the process exclusive until its job is released or over, or share it again."""
        with self._changed:
            self._is_exclusive = exclusive
            self._changed.notify_all()

    def end_priority(self) -> None:
        """Share the process again, because no quarantined job is left."""
        with self._changed:
            self._priority_until = self._requested_at = 0.0
            self._changed.notify_all()

    def add(self, count: int) -> None:
        """Count claimed jobs."""
        with self._changed:
            self._held += count

    def remove(self, count: int) -> None:
        """Count jobs that were released or are over."""
        with self._changed:
            self._held -= count
            if self._held == 0:
                self._is_exclusive = False
            self._changed.notify_all()

    def _request_exclusive(self, now: float) -> None:
        if now - self._requested_at > REQUEST_EXPIRES:
            self._requested_since = now
        self._requested_at = now

    def _start_priority(self, now: float) -> None:
        if self._has_quarantine_priority() and now >= self._priority_until:
            self._priority_until = now + PRIORITY_SECONDS
        self._requested_at = 0.0

    def _has_quarantine_priority(self) -> bool:
        now = time.monotonic()
        has_waited = now - self._requested_at <= REQUEST_EXPIRES and now - self._requested_since >= PATIENCE
        return has_waited or now < self._priority_until
