"""How many jobs a worker process holds, and whether one of them has to be the only one.

A job whose worker died while holding it is suspected of having killed it. It is run when its process holds nothing
else, so that the next death is charged to it alone. A process that is never idle makes room for its suspects after a
while: it claims nothing more until it is empty, and then runs suspects, one by one, for a turn.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds that a suspect waits for its process to be empty by chance."""
TURN = 2.0
"""Seconds that suspects have the process for, once it is empty: after that the others' jobs come first again."""
LAPSE = 3.0
"""Seconds after which a wish that nobody repeats is forgotten."""


class Occupancy:
    """Shared by the consumers of one process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._claiming = 0
        self._alone = False
        self._wished_since = 0.0
        self._wished_at = 0.0
        self._turn_until = 0.0

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

    def await_others_turn(self, timeout: float) -> bool:
        """Wait until it is right to fetch more jobs; false if after `timeout` seconds it still is suspects' turn."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._alone or self._is_suspects_turn()), timeout)

    def try_alone(self) -> bool:
        """Have the process for oneself, if nothing is held or being claimed just now. Settle it with `decided`.

        Whoever asks again and again is made room for.
        """
        with self._changed:
            now = time.monotonic()
            if self._held or self._claiming or self._alone:
                if now - self._wished_at > LAPSE:
                    self._wished_since = now
                self._wished_at = now
                return False
            if self._is_suspects_turn() and now >= self._turn_until:
                self._turn_until = now + TURN
            self._wished_at = 0.0
            self._alone = True
            return True

    def decided(self, *, alone: bool) -> None:
        """Keep the process for oneself until the job is given back, or let the others in again."""
        with self._changed:
            self._alone = alone
            self._changed.notify_all()

    def end_turn(self) -> None:
        """There are no suspects left."""
        with self._changed:
            self._turn_until = self._wished_at = 0.0
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

    def _is_suspects_turn(self) -> bool:
        now = time.monotonic()
        has_waited = now - self._wished_at <= LAPSE and now - self._wished_since >= PATIENCE
        return has_waited or now < self._turn_until
