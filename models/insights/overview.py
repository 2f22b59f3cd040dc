"""The overview of a brand's campaigns: exact counts by the hour, made anew whenever a scan or its score changes.

Counts of scans add up over hours and campaigns; people don't, so reach is counted over the span that is asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns.campaigns import Campaign, get
from models.campaigns.config import EARLIEST, LATEST
from models.core.database import Row, execute, now, rows, value
from models.core.errors import Invalid

MAX_CAMPAIGNS = 100
"""Campaigns that one overview shows, newest first. Its totals are over all of them."""

ANY_RULE = "*"
"""The key under which scans are counted that any rule has flagged; the counts by rule overlap."""

DEFINITIONS = {
    "scans": "Scans of signed codes that were decided on, accepted or rejected.",
    "accepted": "Scans that met the campaign's status, dates, geofence, consents and limits.",
    "rejected": "Scans that did not.",
    "rejected_by_reason": "The same, each under the first reason that was found.",
    "flagged": "Accepted scans whose fraud score lies above the band that is accepted without a person's look.",
    "flagged_by_rule": "The same, each under every rule that speaks against it, so that these may add up to more.",
    "under_review": "Accepted scans whose fraud score lies in the band that a person decides on.",
    "provisional_share": "The part of accepted scans that is under review or not scored yet; null if there are none.",
    "pending": "Scans that have no fraud score yet, counted at the moment of the answer.",
    "settled": "No scan waits for a score, and no count waits to be recomputed. Without new scans, the numbers stay as "
    "they are.",
    "unstored_by_reason": "Requests without an account, consent or location that the campaign requires, under the "
    "first reason that was found. They are no scans, and nothing about the person is stored. By the hour of receipt.",
    "reach": "Distinct people with an accepted scan whose fraud score lies below the reject band. In the totals, "
    "somebody who took part in several campaigns counts once.",
    "engagement_rate": "People with at least one conversion, divided by reach.",
    "roi": "(Attributed net revenue − cost) / cost.",
    "as_of": "Every scan and score committed before this moment is counted.",
    "window": "By the time of the scan: `from` is included, `to` is not. Both are whole hours in UTC.",
}
"""What each number means."""

NO_CONVERSIONS = "no conversions recorded yet"
NO_COSTS = "no conversions and no costs recorded yet"


class ScanRollup(Row):
    """How many of a campaign's scans in an hour (UTC) share a fact: a decision, a reason, a rule or a band."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    hour = DateTimeTZField()
    kind = peewee.TextField()
    key = peewee.TextField()
    count = peewee.BigIntegerField()
    as_of = DateTimeTZField()

    class Meta:
        """Where the table lives."""

        table_name = "scan_rollups"
        primary_key = peewee.CompositeKey("campaign_id", "hour", "kind", "key")


class Engagement(Row):
    """A person's part in a campaign."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    accepted_scans = peewee.IntegerField(default=0)
    first_scan_at = DateTimeTZField()
    last_scan_at = DateTimeTZField()

    class Meta:
        """Where the table lives."""

        table_name = "engagements"
        primary_key = peewee.CompositeKey("campaign_id", "user_id")


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours of UTC; None is no bound."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> "Window":
        """Return the window between two moments.

        Raises:
            Invalid: a bound is out of range, or is not a whole hour in UTC.
        """
        for name, at in (("from", start), ("to", end)):
            if at is not None and not EARLIEST <= at < LATEST:
                raise Invalid(name, f"not between {EARLIEST:%Y} and {LATEST:%Y}")
            if at is not None and at != hour_of(at):
                raise Invalid(name, "must be a whole hour in UTC")
        return cls(start and hour_of(start), end and hour_of(end))

    @property
    def bounds(self) -> dict[str, datetime | str]:
        """Both ends as PostgreSQL compares with them."""
        return {"start": self.start or "-infinity", "end": self.end or "infinity"}


def hour_of(at: datetime) -> datetime:
    """The hour (UTC) that a moment lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def refresh(campaign_id: UUID, hour: datetime | None) -> None:
    """Count one hour of a campaign's scans anew, or (None) all of them.

    The buckets are exact for everything that had committed when this began, however often and in whatever order
    refreshes run: one at a time for a campaign, and each counts after it has waited.
    """
    execute("SELECT app.recount_scans(%s, %s)", (campaign_id, hour and hour_of(hour)))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The counts of one campaign, or of all."""

    decisions: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)
    bands: Mapping[str, int] = field(default_factory=dict)
    unstored: Mapping[str, int] = field(default_factory=dict)
    reach: int = 0

    @property
    def accepted(self) -> int:
        """Scans that were accepted."""
        return self.decisions.get("accepted", 0)

    @property
    def rejected(self) -> int:
        """Scans that were rejected."""
        return self.decisions.get("rejected", 0)

    @property
    def scans(self) -> int:
        """All of them."""
        return self.accepted + self.rejected

    @property
    def flagged(self) -> int:
        """Accepted scans with evidence of any rule."""
        return self.rules.get(ANY_RULE, 0)

    @property
    def flagged_by_rule(self) -> dict[str, int]:
        """The same by rule; a scan may count under several."""
        return {rule: count for rule, count in self.rules.items() if rule != ANY_RULE}

    @property
    def under_review(self) -> int:
        """Accepted scans that a person has to decide on."""
        return self.bands.get("review", 0)

    @property
    def provisional_share(self) -> float | None:
        """Which part of the accepted scans nobody has said the last word on; None without accepted scans."""
        if not self.accepted:
            return None
        settled = self.bands.get("accept", 0) + self.bands.get("reject", 0)
        return round((self.accepted - settled) / self.accepted, 4)


@dataclass(frozen=True, slots=True)
class Overview:
    """What `GET /analytics/overview` tells."""

    as_of: datetime
    window: Window
    pending: int
    settled: bool
    totals: Numbers
    campaigns: list[tuple[Campaign, Numbers]]
    more_campaigns: bool


_UNSETTLED = """
    SELECT EXISTS (SELECT FROM app.jobs WHERE actor IN ('overview.refresh', 'scan.rescore', 'scan.score'))
"""


def overview(campaign_id: UUID | None = None, window: Window | None = None) -> Overview:
    """The overview of the caller's brand, or of one of its campaigns.

    Raises:
        NotFound: no such campaign in this brand.
    """
    window = window or Window()
    campaigns = [get(campaign_id)] if campaign_id else _newest(MAX_CAMPAIGNS + 1)
    shown = campaigns[:MAX_CAMPAIGNS]
    pending = value("SELECT app.count_unscored(%s, %s, %s)", (campaign_id, window.start, window.end))
    # Asked before the counts are read: a recount that ends in between is in them.
    settled = pending == 0 and not value(_UNSETTLED)
    reach = _reach(campaign_id, window)
    totals = rows(_TOTALS, {**window.bounds, "campaign": campaign_id})
    counts = _counts_by_campaign([campaign.id for campaign in shown], window)
    return Overview(
        as_of=min((found["as_of"] for found in totals if found["as_of"]), default=now()),
        window=window,
        pending=pending,
        settled=settled,
        totals=_numbers(totals, reach.get(None, 0)),
        campaigns=[(c, _numbers(counts.get(c.id, []), reach.get(c.id, 0))) for c in shown],
        more_campaigns=len(campaigns) > len(shown),
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


def _newest(limit: int) -> list[Campaign]:
    return list(Campaign.select().order_by(Campaign.created_at.desc(), Campaign.id.desc()).limit(limit))


def _reach(campaign_id: UUID | None, window: Window) -> dict[UUID | None, int]:
    """People by campaign, and under None those of all of them together."""
    found = rows("SELECT campaign_id, people FROM app.reach(%s, %s, %s)", (campaign_id, window.start, window.end))
    return {part["campaign_id"]: part["people"] for part in found}


def _counts_by_campaign(campaign_ids: list[UUID], window: Window) -> dict[UUID, list[dict[str, Any]]]:
    counts: dict[UUID, list[dict[str, Any]]] = {}
    for found in rows(_BY_CAMPAIGN, {**window.bounds, "campaigns": campaign_ids}):
        counts.setdefault(found["campaign_id"], []).append(found)
    return counts


def _numbers(counts: Iterable[Mapping[str, Any]], reach: int) -> Numbers:
    kinds: dict[str, dict[str, int]] = {"decision": {}, "reason": {}, "rule": {}, "band": {}, "unstored": {}}
    for found in counts:
        kinds[found["kind"]][found["key"]] = found["count"]
    return Numbers(kinds["decision"], kinds["reason"], kinds["rule"], kinds["band"], kinds["unstored"], reach)
