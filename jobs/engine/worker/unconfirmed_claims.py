"""Claims without an answer. If such a claim was made, this worker holds the job without knowing it.

While the process lives, the relay does not reclaim its jobs, so it releases them itself. It does so several times: a
claim whose connection was lost may still be running at the server.
"""

import time
from collections.abc import Iterable
from uuid import UUID

EXPIRES = 30.0
"""Seconds after which a claim that was running at the server is over."""
RELEASE_EVERY = 1.0
"""Seconds between two releases of the same jobs."""


class UnconfirmedClaims:
    """Ids of one queue that its consumer may hold without knowing it."""

    def __init__(self) -> None:
        self._until: dict[UUID, float] = {}
        self._next = 0.0

    def add(self, ids: Iterable[UUID]) -> None:
        """Add ids whose claim was not answered."""
        self._until.update(dict.fromkeys(ids, time.monotonic() + EXPIRES))
        self._next = 0.0

    def confirm(self, ids: Iterable[UUID]) -> None:
        """Remove ids that are known to be held: an earlier claim is not the newest any more."""
        for id in ids:
            self._until.pop(id, None)

    def due(self) -> list[UUID]:
        """Return the ids to release now. Call `mark_released` after the release."""
        return list(self._until) if self._until and time.monotonic() >= self._next else []

    def mark_released(self) -> None:
        """Schedule the next release, and remove ids whose claims are over."""
        now = time.monotonic()
        self._next = now + RELEASE_EVERY
        self._until = {id: until for id, until in self._until.items() if until > now}
