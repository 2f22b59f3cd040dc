"""Jobs whose claim was not answered: it may have been made, and then this worker holds them without knowing.

While its process lives nobody takes them back from it, so it gives them back itself. More than once, because a claim
whose connection was lost may still be under way at the server.
"""

import time
from collections.abc import Iterable
from uuid import UUID

LASTS = 30.0
"""Seconds after which a claim that was under way is over."""
AGAIN = 1.0
"""Seconds between two times that the same jobs are given back."""


class Doubts:
    """The ids of one queue that its consumer may hold without knowing."""

    def __init__(self) -> None:
        self._until: dict[UUID, float] = {}
        self._next = 0.0

    def add(self, ids: Iterable[UUID]) -> None:
        """A claim of these was not answered."""
        self._until.update(dict.fromkeys(ids, time.monotonic() + LASTS))
        self._next = 0.0

    def settle(self, ids: Iterable[UUID]) -> None:
        """These are held and known to be: whatever became of the earlier claim, it is not the newest."""
        for id in ids:
            self._until.pop(id, None)

    def due(self) -> list[UUID]:
        """The ids to give back now; call `given_back` when the ledger has been told."""
        return list(self._until) if self._until and time.monotonic() >= self._next else []

    def given_back(self) -> None:
        """The ledger has been told once more."""
        now = time.monotonic()
        self._next = now + AGAIN
        self._until = {id: until for id, until in self._until.items() if until > now}
