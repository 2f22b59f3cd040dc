"""What becomes of a scan, and how it is said."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.core.database import now
from models.core.errors import Problem, SessionEnded


class ScanRefused(Problem):
    """A scan that doesn't count."""

    # A refused scan is its own record, or is counted (`app.scan_refusals`).
    is_audited = False
    shown: tuple[str, ...] = ()


def _kind(code: str, *shown: str) -> type[Problem]:
    """Return the exception class of a code. `shown`: the members of its details that the response contains."""
    return type(code.title().replace("_", ""), (ScanRefused,), {"code": code, "shown": shown})


KINDS: dict[str, type[Problem]] = {
    kind.code: kind
    for kind in (
        # The audit trail records a caller without a valid session.
        SessionEnded,
        _kind("account_required"),
        _kind("consent_required", "missing", "notice"),
        _kind("geofence_outside"),
        _kind("geofence_uncertain"),
        _kind("unknown_code"),
        _kind("campaign_not_active"),
        _kind("cap_exhausted", "scope"),
        _kind("client_scan_id_reused"),
        _kind("campaign_ended"),
        _kind("bad_token"),
        _kind("location_inaccurate"),
        _kind("location_stale"),
        _kind("scan_time_invalid"),
        _kind("scan_too_old"),
        _kind("location_required"),
        _kind("limit_reached", "scope", "window"),
        # Nothing was stored; the same request may be made again.
        _kind("busy"),
        _kind("changed_meanwhile"),
        _kind("failed"),
    )
}
"""The exception class of each reason for which a scan doesn't count, by its code."""


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
    """Return the outcome of a scan that counts.

    Raises:
        Problem: it doesn't count; the reason is the `code`.
    """
    if isinstance(outcome, Refused):
        refusal = _refusal(KINDS[outcome.reason], outcome.details)
        # While a required account, consent or location is missing, nothing personal is stored.
        refusal.is_audited = refusal.is_audited and not outcome.is_incomplete
        raise refusal
    return outcome


def _refusal(kind: type[Problem], details: dict[str, Any]) -> Problem:
    extra = {name: details[name] for name in getattr(kind, "shown", ()) if name in details}
    if kind.status == 429:
        seconds = _seconds_until(details["until"])
        return kind(headers={"Retry-After": str(seconds)}, retry_after=seconds, **extra)
    if kind.status == 503:
        return kind(headers={"Retry-After": "1"}, **extra)
    return kind(**extra)


def _seconds_until(moment: str) -> int:
    return max(1, math.ceil((datetime.fromisoformat(moment) - now()).total_seconds()))
