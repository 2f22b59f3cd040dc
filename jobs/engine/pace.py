"""How many jobs a consumer claims ahead: as many as its process ends while more are fetched, and no more.

What is claimed has been decided: a job that comes later, however urgent and whoever's, is behind it. Where jobs are
short many have to be claimed at a time, or threads would wait for the ledger; where they are long one or two will do.
"""

import time
from math import ceil

_LEAD = 0.02  # seconds; to fetch and claim takes less
_WINDOW = 0.1  # seconds over which ended jobs are counted


class Pace:
    """The pace at which jobs end. Not for several threads."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._ended = 0
        self._since = time.monotonic()

    def ended(self, count: int) -> None:
        """Count jobs that have ended."""
        self._ended += count

    def ahead(self, most: int) -> int:
        """How many to claim ahead: between 1 and `most`."""
        elapsed = time.monotonic() - self._since
        if elapsed >= _WINDOW:
            self._per_s, self._ended, self._since = self._ended / elapsed, 0, self._since + elapsed
        return max(1, min(most, ceil(self._per_s * _LEAD)))
