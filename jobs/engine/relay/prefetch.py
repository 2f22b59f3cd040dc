"""How many ids a queue at the broker should hold: as many as workers fetch while the relay looks again, and no more.

What lies there has been decided: a job that comes later, however urgent and whoever's, is behind it.
"""

import time
from collections.abc import Callable

from jobs.engine.throughput import Pace

LEAST = 3
MOST = 256
_STARVING = 3  # looks in a row that found it empty


class Depth:
    """The target of one queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = LEAST
        self._filled_to = 0
        self._found_empty = 0
        self._pace = Pace(clock)

    def room(self, present: int) -> int:
        """How many ids to add to a queue that holds `present`; learns from what has gone since the last time."""
        self._pace.gone(max(0, self._filled_to - present))
        wanted = max(LEAST, self._pace.ahead(MOST))
        self._found_empty = self._found_empty + 1 if self._filled_to >= self.target and present == 0 else 0
        if self._found_empty >= _STARVING:
            # What is missing can't be seen in the pace: workers would have fetched more.
            self.target = min(MOST, max(wanted, 2 * self.target))
        else:
            self.target = max(wanted, self.target * 3 // 4)
        self._filled_to = present
        return max(0, self.target - present)

    def filled(self, present: int, added: int) -> None:
        """Note what the queue holds now."""
        self._filled_to = present + added
