"""Outcomes of scans: accepted, or refused with a reason that is an error class."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from models.consents.consents import ConsentTier
from models.consents.notices import NoticeInForce
from models.core.database import now
from models.core.enumerations import enumeration
from models.core.errors import Members, Problem, SessionEnded


class ScanRefused(Problem):
    """A scan that doesn't count."""

    # A refused scan is its own record, or is counted (`app.scan_refusals`).
    is_audited = False


class ConsentRequiredMembers(Members):
    """The missing consents and the notice to show."""

    missing: Annotated[
        list[ConsentTier], msgspec.Meta(description="Tiers that the person has to consent to; at least one.")
    ]
    notice: Annotated[
        NoticeInForce | None,
        msgspec.Meta(description="The notice to show before the consent. Null if no notice is in force."),
    ]


LimitScope = Annotated[
    Literal["user", "device", "campaign"],
    enumeration(
        "LimitScope",
        "Whose limit it is. `user`: that of the person. `device`: that of the phone. `campaign`: that of the whole "
        "campaign.",
    ),
]


class ScanWindowClosedMembers(Members):
    """When scans count again."""

    opens_at: Annotated[
        datetime | None,
        msgspec.Meta(
            description="Time from which scans count again, in UTC: the next opening of `scan_windows`, or the receipt "
            "if a window was open then. Null if the campaign ends before.",
            examples=["2026-11-27T17:00:00Z"],
        ),
    ]


PassingWindow = Annotated[
    Literal["day", "hour"],
    enumeration("PassingWindow", "Window of a limit that ends: a calendar day or hour in the campaign's time zone."),
]


class CapExhaustedMembers(Members):
    """The exhausted limit."""

    scope: Annotated[LimitScope, msgspec.Meta(description="Whose limit has no scans left.")]


class LimitReachedMembers(CapExhaustedMembers):
    """The limit that is reached, and when it ends."""

    window: Annotated[PassingWindow, msgspec.Meta(description="Window of the limit, which ends in `retry_after`.")]
    retry_after: Annotated[
        int, msgspec.Meta(description="Seconds until the next window begins, at least 1; also in `Retry-After`.")
    ]


def _refusal(code: str, members: type[Members] = Members) -> type[Problem]:
    """Return the error class of a reason. `members`: the details that the response contains."""
    return type(code.title().replace("_", ""), (ScanRefused,), {"code": code, "members": members})


REFUSALS: dict[str, type[Problem]] = {
    refusal.code: refusal
    for refusal in (
        # The audit trail records a caller without a valid session.
        SessionEnded,
        _refusal("account_required"),
        _refusal("consent_required", ConsentRequiredMembers),
        _refusal("geofence_outside"),
        _refusal("geofence_uncertain"),
        _refusal("unknown_code"),
        _refusal("campaign_not_active"),
        _refusal("scan_window_closed", ScanWindowClosedMembers),
        _refusal("cap_exhausted", CapExhaustedMembers),
        _refusal("client_scan_id_reused"),
        _refusal("campaign_ended"),
        _refusal("bad_token"),
        _refusal("location_inaccurate"),
        _refusal("location_stale"),
        _refusal("scan_time_invalid"),
        _refusal("scan_too_old"),
        _refusal("location_required"),
        _refusal("limit_reached", LimitReachedMembers),
        # Nothing was stored. The client may repeat the request.
        _refusal("busy"),
        _refusal("changed_meanwhile"),
        _refusal("failed"),
    )
}
"""The error class of each reason for which a scan doesn't count, by its code. A test compares them with SQL."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A scan that counts, or that would count without the test mode of its campaign (`is_test`).

    `replayed`: an earlier request with the same `client_scan_id` was accepted already.
    """

    id: UUID
    campaign_id: UUID
    scanned_at: datetime
    received_at: datetime
    late: bool
    is_test: bool
    replayed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A scan that doesn't count: the reason and its details."""

    reason: str
    details: dict[str, Any]

    @property
    def is_incomplete(self) -> bool:
        """Whether a required account, consent or location is missing. Then nothing personal is stored."""
        return bool(self.details.get("incomplete"))


Outcome = Accepted | Refused


def require_accepted(outcome: Outcome) -> Accepted:
    """Return an accepted outcome.

    Raises:
        Problem: the scan doesn't count; the reason is the error's `code`.
    """
    if isinstance(outcome, Refused):
        error = _error(REFUSALS[outcome.reason], outcome.details)
        # While a required account, consent or location is missing, nothing personal is stored.
        error.is_audited = error.is_audited and not outcome.is_incomplete
        raise error
    return outcome


def _error(refusal: type[Problem], details: dict[str, Any]) -> Problem:
    if refusal.status == 429:
        details = details | {"retry_after": _seconds_until(details["until"])}
    if details.get("opens_at"):
        details = details | {"opens_at": datetime.fromisoformat(details["opens_at"])}
    error = refusal(**{name: details[name] for name in refusal.members.__struct_fields__})
    if refusal.status in (429, 503):
        error.headers["Retry-After"] = str(details.get("retry_after", 1))
    return error


def _seconds_until(until: str) -> int:
    """Return the whole seconds until an ISO 8601 time, at least 1."""
    return max(1, math.ceil((datetime.fromisoformat(until) - now()).total_seconds()))
