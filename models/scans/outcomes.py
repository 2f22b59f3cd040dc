"""What becomes of a scan, and how it is said."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.core.database import now
from models.core.errors import Problem


class ScanRefused(Problem):
    """A scan that doesn't count."""


def _kind(status: int, code: str, title: str, *shown: str) -> type[ScanRefused]:
    """Return a refusal class. `shown`: the members of its details that the answer contains.

    A refused scan is its own record, or is counted (`app.scan_refusals`). The audit trail records a caller without
    a valid session (401), unless a required account, consent or location is missing: then nothing personal is stored.
    """
    members = {"status": status, "code": code, "title": title, "shown": shown, "__doc__": f"{title}."}
    members["is_noted"] = status == 401
    return type(code.title().replace("_", ""), (ScanRefused,), members)


KINDS: dict[str, type[ScanRefused]] = {
    kind.code: kind
    for kind in (
        _kind(401, "session_ended", "Sign in again"),
        _kind(403, "account_required", "The campaign counts scans of people with an account only"),
        _kind(403, "consent_required", "The person has to agree first", "missing", "notice"),
        _kind(403, "geofence_outside", "Too far away"),
        _kind(403, "geofence_uncertain", "The position is not exact enough to tell"),
        _kind(404, "unknown_code", "There is no such code"),
        _kind(409, "campaign_not_active", "The campaign is not running"),
        _kind(409, "cap_exhausted", "All shares have been taken", "scope"),
        _kind(409, "client_scan_id_reused", "That client_scan_id belongs to another scan"),
        _kind(410, "campaign_ended", "The campaign has ended"),
        _kind(422, "bad_token", "That is not a code of ours"),
        _kind(422, "location_inaccurate", "The position is not exact enough"),
        _kind(422, "location_stale", "The position is not of the moment of the scan"),
        _kind(422, "scan_time_invalid", "The scan lies in the future"),
        _kind(422, "scan_too_old", "The scan is older than the campaign takes"),
        _kind(428, "location_required", "This campaign counts scans by where they are made"),
        _kind(429, "limit_reached", "No more scans count for now", "scope", "window"),
        # Nothing was stored; the same request may be made again.
        _kind(503, "busy", "Try again in a moment"),
        _kind(503, "changed_meanwhile", "Try again in a moment"),
        _kind(503, "failed", "Try again in a moment"),
    )
}
"""Every reason for which a scan doesn't count, by its code."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A scan that counts. `replayed`: an earlier request with the same `client_scan_id` had been told so."""

    id: UUID
    campaign_id: UUID
    scanned_at: datetime
    received_at: datetime
    late: bool
    replayed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A scan that doesn't count, why, and what belongs to the reason."""

    reason: str
    details: dict[str, Any]

    @property
    def is_incomplete(self) -> bool:
        """Whether a required account, consent or location is missing. Then nothing personal is stored."""
        return bool(self.details.get("incomplete"))


Outcome = Accepted | Refused


def require_accepted(outcome: Outcome) -> Accepted:
    """The outcome, if the scan counts.

    Raises:
        ScanRefused: it doesn't, with the reason as `code`.
    """
    if isinstance(outcome, Refused):
        refusal = _refusal(KINDS[outcome.reason], outcome.details)
        refusal.is_noted = refusal.is_noted and not outcome.is_incomplete
        raise refusal
    return outcome


def _refusal(kind: type[ScanRefused], details: dict[str, Any]) -> ScanRefused:
    extra = {name: details[name] for name in kind.shown if name in details}  # type: ignore[attr-defined]
    if kind.status == 401:
        return kind(headers={"WWW-Authenticate": "Bearer"}, **extra)
    if kind.status == 429:
        seconds = _seconds_until(details["until"])
        return kind(headers={"Retry-After": str(seconds)}, retry_after=seconds, **extra)
    if kind.status == 503:
        return kind(headers={"Retry-After": "1"}, **extra)
    return kind(**extra)


def _seconds_until(moment: str) -> int:
    return max(1, math.ceil((datetime.fromisoformat(moment) - now()).total_seconds()))
