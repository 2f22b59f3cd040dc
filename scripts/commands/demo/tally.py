"""What the phones were told: the outside world's own books, to hold the system's numbers against."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

UNSTORED = ("bad_token", "consent_required", "location_required")
"""Reasons for which a scan is refused and not stored."""


@dataclass(slots=True)
class Tally:
    """Counts of all phones together; may be written by many threads."""

    sent: int = 0
    decided: Counter[str] = field(default_factory=Counter)
    """`accepted`, or why not."""
    seconds: list[float] = field(default_factory=list)
    """How long each answer took."""
    replays: int = 0
    """Answers that were given a second time, because the phone had asked a second time."""
    asked_again: int = 0
    """Tries that were not answered, or with «not now»."""
    phones: int = 0
    """Phones that are through."""
    mistakes: list[str] = field(default_factory=list)
    """Answers that must not be."""
    _scans: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self) -> None:
        """A scan is about to be sent."""
        with self._lock:
            self.sent += 1

    def decide(self, outcome: str, client_scan_id: str, scan_id: str, seconds: float) -> None:
        """A scan was decided: `accepted` under the id `scan_id`, or rejected."""
        with self._lock:
            self.decided[outcome] += 1
            self.seconds.append(seconds)
            if outcome == "accepted" and self._scans.setdefault(scan_id, client_scan_id) != client_scan_id:
                self.mistakes.append(f"two scans were given one id, {scan_id}")

    def replay(self, client_scan_id: str, scan_id: str, status: int) -> None:
        """A phone asked again about a scan that it knew to be accepted."""
        with self._lock:
            self.replays += 1
            if status != 200 or self._scans.get(scan_id) != client_scan_id:
                self.mistakes.append(f"scan {client_scan_id} was sent again and answered with {status}, {scan_id}")

    def unexpected(self, text: str) -> None:
        """Something happened that the plan doesn't know."""
        with self._lock:
            self.mistakes.append(text)

    def leave(self, tries: int, requests: int) -> None:
        """A phone is through, after `requests` requests that took `tries` tries."""
        with self._lock:
            self.phones += 1
            self.asked_again += tries - requests

    @property
    def accepted(self) -> int:
        """Scans that were accepted."""
        return self.decided["accepted"]

    @property
    def refused(self) -> int:
        """Scans that were refused and not stored."""
        return sum(self.decided[reason] for reason in UNSTORED)

    @property
    def rejected(self) -> int:
        """Scans that were rejected, and stored with the reason."""
        return sum(self.decided.values()) - self.accepted - self.refused


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
