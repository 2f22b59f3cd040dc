"""How many jobs a worker process holds, and whether one of them has to be the only one.

A job whose worker died while holding it is suspected of having killed it. It is run when its process holds nothing
else, so that the next death is charged to it alone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Occupancy:
    """Shared by the consumers of one process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._claiming = 0
        self._alone = False

    @contextmanager
    def among_others(self) -> Iterator[None]:
        """Claim within the block; waits while a suspect has the process for itself."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._claiming += 1
        try:
            yield
        finally:
            with self._changed:
                self._claiming -= 1
                self._changed.notify_all()

    def try_alone(self) -> bool:
        """Have the process for oneself, if nothing is held or being claimed just now. Settle it with `decided`."""
        with self._changed:
            if self._held or self._claiming or self._alone:
                return False
            self._alone = True
            return True

    def decided(self, *, alone: bool) -> None:
        """Keep the process for oneself until the job is given back, or let the others in again."""
        with self._changed:
            self._alone = alone
            self._changed.notify_all()

    def add(self, count: int) -> None:
        """`count` jobs have been claimed."""
        with self._changed:
            self._held += count

    def remove(self, count: int) -> None:
        """`count` jobs have been given back or are over."""
        with self._changed:
            self._held -= count
            if self._held == 0:
                self._alone = False
            self._changed.notify_all()
