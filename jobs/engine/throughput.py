"""How many jobs to decide on ahead: as many as go while the next are fetched, and no more.

What has been decided stands before whatever comes later, however urgent and whoever's. Where jobs are short many have
to be at hand, or threads would wait for the ledger; where they are long one or two will do.
"""

import time
from collections.abc import Callable

_LEAD = 0.01  # seconds; to look, fetch and claim takes about as long
_MANY, _BATCHES = 3, 5
_WINDOW = 0.1  # seconds over which jobs that went are counted


class Pace:
    """The pace at which jobs go. Not for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._per_s = 0.0
        self._gone = 0
        self._since = clock()

    def gone(self, count: int) -> None:
        """Count jobs that went."""
        self._gone += count

    def ahead(self, most: int) -> int:
        """How many to have at hand: between 1 and `most`.

        Where many go in a moment, that of several: a fetch costs as much as a few jobs then.
        """
        elapsed = self._clock() - self._since
        if elapsed >= _WINDOW:
            self._per_s, self._gone, self._since = self._gone / elapsed, 0, self._since + elapsed
        few = int(self._per_s * _LEAD)
        return max(1, min(most, few if few < _MANY else _BATCHES * few))
