"""Compute the number of jobs to prefetch: as many as finish while the next are fetched.

A prefetched job runs before every later one, even a more urgent one. With short jobs, threads would wait for the ledger
unless many are prefetched. With long jobs, one or two are enough.
"""

import time
from collections.abc import Callable

_FETCH_SECONDS = 0.01  # about the time to poll, fetch and claim
_MANY = 3
"""From this number of jobs per fetch on, the jobs of several fetches are prefetched."""
_BATCHES = 5
"""Number of fetches whose jobs are then prefetched together."""
_WINDOW = 0.1  # seconds over which jobs are counted


class Throughput:
    """Measure the jobs per second that leave a queue or a worker. Not thread-safe."""

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

        That is the number of jobs that leave during one fetch. From `_MANY` on it is `_BATCHES` times as many: a fetch
        then takes as long as several jobs, so prefetch more jobs with each.
        """
        elapsed = self._clock() - self._since
        if elapsed >= _WINDOW:
            self._per_s, self._count, self._since = self._count / elapsed, 0, self._since + elapsed
        per_fetch = int(self._per_s * _FETCH_SECONDS)
        return max(1, min(most, per_fetch if per_fetch < _MANY else _BATCHES * per_fetch))
