"""Track workers whose liveness lock is missing: for a moment after a lost connection, or because they are dead."""

import time
from collections.abc import Iterable


class MissingWorkers:
    """Record since when each worker has been missing without interruption."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: dict[int, float] = {}

    def overdue(self, missing: Iterable[int]) -> list[int]:
        """Return the workers that have been missing at every call for `grace` seconds.

        Args:
            missing: workers without their lock now.
        """
        now = time.monotonic()
        self._since = {worker: self._since.get(worker, now) for worker in missing}
        return [worker for worker, since in self._since.items() if now - since >= self._grace]
