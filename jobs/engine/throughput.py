"""Compute the number of jobs to prefetch: as many as finish while the next are fetched.

A prefetched job runs before every later one, even a more urgent one. With short jobs, threads would wait for the ledger
unless many are prefetched. With long jobs, one or two are enough.
"""

import time
from collections.abc import Callable

_FETCH_SECONDS = 0.01  # about the time to poll, fetch and claim
_MANY, _BATCHES = 3, 5
_WINDOW = 0.1  # seconds over which jobs are counted


class Throughput:
    """Jobs per second that leave a queue or a worker. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._per_s = 0.0
        self._count = 0
        self._since = clock()

    def record(self, count: int) -> None:
        """Count jobs that have left."""
        self._count += count

    def lookahead(self, most: int) -> int:
        """Return the number of jobs to prefetch, between 1 and `most`.

        At a high throughput that is several fetches' worth: a fetch then costs as much as a few jobs.
        """
        elapsed = self._clock() - self._since
        if elapsed >= _WINDOW:
            self._per_s, self._count, self._since = self._count / elapsed, 0, self._since + elapsed
        few = int(self._per_s * _FETCH_SECONDS)
        return max(1, min(most, few if few < _MANY else _BATCHES * few))
