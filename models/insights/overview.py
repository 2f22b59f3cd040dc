"""The overview of a brand's campaigns: exact counts by hour, recomputed when a scan or its score changes.

Counts of scans can be added up over hours and campaigns. Counts of people can't: reach is counted for the requested
window and campaigns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from models.campaigns import campaigns, search
from models.campaigns.campaigns import Campaign
from models.campaigns.config import EARLIEST, LATEST, OUT_OF_RANGE
from models.core.database import execute, now, rows, value
from models.core.errors import FieldError, Invalid
from models.jobs import ledger

MAX_CAMPAIGNS = 100
"""Maximum number of campaigns that one overview lists, newest first. Its totals include all campaigns."""

ANY_RULE = "*"
"""Key of the count of scans that any rule has flagged; counts by rule overlap."""

KINDS = ("decision", "reason", "rule", "band")
"""Kinds of rollups. A CHECK constraint lists the same values; a test compares the two."""
UNSTORED = "unstored"
"""Kind of the counts of requests that are not stored as scans; they come from `app.scan_refusals`."""

DEFINITIONS = {
    "scans": "Scans of signed codes that were decided on, accepted or rejected.",
    "accepted": "Scans that met the campaign's status, dates, geofence, consents and limits.",
    "rejected": "Scans that did not meet one of these conditions of the campaign.",
    "rejected_by_reason": "Rejected scans, each under the first reason that was found.",
    "flagged": "Accepted scans whose fraud score is above the band that is accepted without review.",
    "flagged_by_rule": "Flagged scans under every rule that found evidence; the sum may exceed `flagged`.",
    "under_review": "Accepted scans whose fraud score is in the band that a person reviews.",
    "provisional_share": "Share of accepted scans that are under review or not scored yet, 0 to 1; null if there are "
    "no accepted scans.",
    "pending": "Scans without a fraud score at the time of the answer.",
    "settled": "True if no scan waits for a score and no count waits to be recomputed. Without new scans, the numbers "
    "stay as they are.",
    "unstored_by_reason": "Requests without an account, consent or location that the campaign requires, under the "
    "first reason that was found, by the hour of receipt. They are not scans; nothing about the person is stored.",
    "reach": "Distinct people with an accepted scan whose fraud score is below the reject band. In the totals, a "
    "person who took part in several campaigns counts once.",
    "engagement_rate": "People with at least one conversion, divided by reach.",
    "roi": "(Attributed net revenue - cost) / cost.",
    "as_of": "Every scan and score committed before this time is counted.",
    "window": "Times of scans: `from` is included, `to` is excluded. Both are whole hours in UTC.",
}
"""Definition of each number, as the API returns it."""

NO_CONVERSIONS = "no conversions recorded yet"
NO_COSTS = "no conversions and no costs recorded yet"


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours in UTC, `end` excluded; None is no bound."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> "Window":
        """Return the window between two times.

        Raises:
            Invalid: a bound is out of range or no whole hour in UTC, or the window is empty; names each such bound.
        """
        errors = []
        for name, at in (("from", start), ("to", end)):
            if at is not None and not EARLIEST <= at < LATEST:
                errors.append(FieldError(name, OUT_OF_RANGE))
            elif at is not None and at != hour_of(at):
                errors.append(FieldError(name, "must be a whole hour in UTC, such as 2026-11-22T18:00:00Z"))
        if not errors and start and end and start >= end:
            errors.append(FieldError("to", "must be later than `from`"))
        if errors:
            raise Invalid(errors=errors)
        return cls(start and hour_of(start), end and hour_of(end))

    @property
    def bounds(self) -> dict[str, datetime | str]:
        """Both bounds as query parameters."""
        return {"start": self.start or "-infinity", "end": self.end or "infinity"}


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour (UTC) that contains a time."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def refresh(campaign_id: UUID, hour: datetime | None) -> None:
    """Recompute a campaign's rollups for one hour, or for all hours (None).

    Refreshes of a campaign run one at a time, and each reads after it has acquired the lock. So the rollups are exact
    for all scans that committed before the last refresh began, regardless of the order of refreshes.
    """
    execute("SELECT app.recount_scans(%s, %s)", (campaign_id, hour and hour_of(hour)))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The counts of one campaign, or of all campaigns together."""

    decisions: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)
    bands: Mapping[str, int] = field(default_factory=dict)
    unstored: Mapping[str, int] = field(default_factory=dict)
    reach: int = 0

    @property
    def accepted(self) -> int:
        """Number of accepted scans."""
        return self.decisions.get("accepted", 0)

    @property
    def rejected(self) -> int:
        """Number of rejected scans."""
        return self.decisions.get("rejected", 0)

    @property
    def scans(self) -> int:
        """Number of accepted and rejected scans."""
        return self.accepted + self.rejected

    @property
    def flagged(self) -> int:
        """Number of accepted scans that any rule has flagged."""
        return self.rules.get(ANY_RULE, 0)

    @property
    def flagged_by_rule(self) -> dict[str, int]:
        """Number of flagged scans by rule; a scan may count under several rules."""
        return {rule: count for rule, count in self.rules.items() if rule != ANY_RULE}

    @property
    def under_review(self) -> int:
        """Number of accepted scans that wait for a person's review."""
        return self.bands.get("review", 0)

    @property
    def provisional_share(self) -> float | None:
        """Share of accepted scans that are under review or not scored, 0 to 1; None without accepted scans."""
        if not self.accepted:
            return None
        settled = self.bands.get("accept", 0) + self.bands.get("reject", 0)
        return round((self.accepted - settled) / self.accepted, 4)


@dataclass(frozen=True, slots=True)
class Overview:
    """The contents of `GET /analytics/overview`."""

    as_of: datetime
    window: Window
    pending: int
    settled: bool
    totals: Numbers
    campaigns: list[tuple[Campaign, Numbers]]
    more_campaigns: bool


_RECOMPUTING = ("engagements.fold", "overview.refresh", "scan.rescore", "scan.score")
"""Actors whose live jobs will change the numbers."""


def overview(campaign_id: UUID | None = None, window: Window | None = None) -> Overview:
    """Return the overview of the caller's brand, or of one campaign.

    Raises:
        NotFound: the brand has no such campaign, or the caller may not see it.
    """
    window = window or Window()
    every = search.Conditions(archived="all")
    found = [campaigns.get(campaign_id)] if campaign_id else search.find(limit=MAX_CAMPAIGNS + 1, conditions=every)
    shown = found[:MAX_CAMPAIGNS]
    pending = value("SELECT app.count_unscored(%s, %s, %s)", (campaign_id, window.start, window.end))
    # Read before the counts: the counts then include a refresh that ends in between.
    settled = pending == 0 and not ledger.has_live(*_RECOMPUTING)
    reach = _reach(campaign_id, window)
    totals = rows(_TOTALS, {**window.bounds, "campaign": campaign_id})
    counts = _counts_by_campaign([campaign.id for campaign in shown], window)
    return Overview(
        as_of=min((part["as_of"] for part in totals if part["as_of"]), default=now()),
        window=window,
        pending=pending,
        settled=settled,
        totals=_numbers(totals, reach.get(None, 0)),
        campaigns=[(c, _numbers(counts.get(c.id, []), reach.get(c.id, 0))) for c in shown],
        more_campaigns=len(found) > len(shown),
    )


_TOTALS = """
    SELECT kind, key, sum(count)::bigint AS count, min(as_of) AS as_of FROM public.scan_rollups
    WHERE hour >= %(start)s AND hour < %(end)s AND campaign_id = coalesce(%(campaign)s, campaign_id) GROUP BY kind, key
    UNION ALL
    SELECT 'unstored', reason, sum(n)::bigint, NULL FROM app.scan_refusals
    WHERE hour >= %(start)s AND hour < %(end)s AND campaign_id = coalesce(%(campaign)s, campaign_id) GROUP BY reason
    ORDER BY kind, key
"""
_BY_CAMPAIGN = """
    SELECT campaign_id, kind, key, sum(count)::bigint AS count FROM public.scan_rollups
    WHERE hour >= %(start)s AND hour < %(end)s AND campaign_id = ANY (%(campaigns)s::uuid[])
    GROUP BY campaign_id, kind, key
    UNION ALL
    SELECT campaign_id, 'unstored', reason, sum(n)::bigint FROM app.scan_refusals
    WHERE hour >= %(start)s AND hour < %(end)s AND campaign_id = ANY (%(campaigns)s::uuid[])
    GROUP BY campaign_id, reason
    ORDER BY kind, key
"""


def _reach(campaign_id: UUID | None, window: Window) -> dict[UUID | None, int]:
    """Return the reach by campaign; the key None holds the reach of all campaigns together."""
    found = rows("SELECT campaign_id, people FROM app.reach(%s, %s, %s)", (campaign_id, window.start, window.end))
    return {part["campaign_id"]: part["people"] for part in found}


def _counts_by_campaign(campaign_ids: list[UUID], window: Window) -> dict[UUID, list[dict[str, Any]]]:
    counts: dict[UUID, list[dict[str, Any]]] = {}
    for found in rows(_BY_CAMPAIGN, {**window.bounds, "campaigns": campaign_ids}):
        counts.setdefault(found["campaign_id"], []).append(found)
    return counts


def _numbers(counts: Iterable[Mapping[str, Any]], reach: int) -> Numbers:
    by_kind: dict[str, dict[str, int]] = {kind: {} for kind in (*KINDS, UNSTORED)}
    for found in counts:
        by_kind[found["kind"]][found["key"]] = found["count"]
    return Numbers(by_kind["decision"], by_kind["reason"], by_kind["rule"], by_kind["band"], by_kind[UNSTORED], reach)
