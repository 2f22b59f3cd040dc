"""Workers that are without their lock: for a moment, because their connection was lost, or for good."""

import time
from collections.abc import Iterable


class Absences:
    """Remembers since when each worker has been missing."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[int, float] = {}

    def long(self, missing: Iterable[int]) -> list[int]:
        """Of those that are missing now, the ones that have been at every look for `patience` seconds."""
        now = time.monotonic()
        self._since = {worker: self._since.get(worker, now) for worker in missing}
        return [worker for worker, since in self._since.items() if now - since >= self._patience]
