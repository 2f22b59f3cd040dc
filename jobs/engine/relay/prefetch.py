"""Compute the number of ids that a queue at the broker should hold: enough until the next poll of the relay.

The order of the ids at the broker is final. A later job is queued behind them, even if it is more urgent or belongs to
a tenant with fewer recent dispatches.
"""

import time
from collections.abc import Callable

from jobs.engine.throughput import Throughput

MIN_TARGET = 3
MAX_TARGET = 256
_STARVING_POLLS = 3  # consecutive polls that found the queue empty


class Prefetch:
    """The target length of one queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = MIN_TARGET
        self._filled_to = 0
        self._empty_polls = 0
        self._throughput = Throughput(clock)

    def capacity(self, present: int) -> int:
        """Return the number of ids to add to a queue that holds `present`, and adapt the target to the throughput."""
        self._throughput.record(max(0, self._filled_to - present))
        wanted = max(MIN_TARGET, self._throughput.lookahead(MAX_TARGET))
        self._empty_polls = self._empty_polls + 1 if self._filled_to >= self.target and present == 0 else 0
        if self._empty_polls >= _STARVING_POLLS:
            # The queue ran empty, so the measured throughput is only a lower bound of the workers' rate.
            self.target = min(MAX_TARGET, max(wanted, 2 * self.target))
        else:
            self.target = max(wanted, self.target * 3 // 4)
        self._filled_to = present
        return max(0, self.target - present)

    def record_filled(self, present: int, added: int) -> None:
        """Record the queue's length after ids were added."""
        self._filled_to = present + added
