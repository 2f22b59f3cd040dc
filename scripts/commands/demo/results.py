"""Results of the phones, counted from the responses, to compare with the system's numbers."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

UNSTORED = ("bad_token", "consent_required", "location_required")
"""Reasons of scans that are not stored."""


@dataclass(slots=True)
class Results:
    """Counts of all phones. Safe to update from many threads."""

    sent: int = 0
    decided: Counter[str] = field(default_factory=Counter)
    """Scans by outcome: `accepted`, or the reason of the refusal."""
    seconds: list[float] = field(default_factory=list)
    """Durations of the responses."""
    replays: int = 0
    """Responses to scans that were sent again."""
    repeated: int = 0
    """Attempts that failed temporarily and were repeated."""
    phones: int = 0
    """Phones that have finished."""
    mistakes: list[str] = field(default_factory=list)
    """Responses that contradict the plan or each other."""
    _scans: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_sent(self) -> None:
        """Count a scan before it is sent."""
        with self._lock:
            self.sent += 1

    def add_outcome(self, outcome: str, client_scan_id: str, scan_id: str, seconds: float) -> None:
        """Count the outcome of a scan. `scan_id`: the id of an accepted scan."""
        with self._lock:
            self.decided[outcome] += 1
            self.seconds.append(seconds)
            if outcome == "accepted" and self._scans.setdefault(scan_id, client_scan_id) != client_scan_id:
                self.mistakes.append(f"two scans have the same id {scan_id}")

    def add_replay(self, client_scan_id: str, scan_id: str, status: int) -> None:
        """Check the response to an accepted scan that was sent again."""
        with self._lock:
            self.replays += 1
            if status != 200 or self._scans.get(scan_id) != client_scan_id:
                self.mistakes.append(f"scan {client_scan_id} was sent again and returned {status}, {scan_id}")

    def add_mistake(self, text: str) -> None:
        """Add a response that contradicts the plan."""
        with self._lock:
            self.mistakes.append(text)

    def finish_phone(self, attempts: int, requests: int) -> None:
        """Count a finished phone with the number of its requests and of its attempts."""
        with self._lock:
            self.phones += 1
            self.repeated += attempts - requests

    @property
    def accepted(self) -> int:
        """Number of accepted scans."""
        return self.decided["accepted"]

    @property
    def refused(self) -> int:
        """Number of refused scans that are not stored."""
        return sum(self.decided[reason] for reason in UNSTORED)

    @property
    def rejected(self) -> int:
        """Number of rejected scans, which are stored."""
        return sum(self.decided.values()) - self.accepted - self.refused


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values doesn't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
