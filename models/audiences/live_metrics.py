"""Live metrics of a campaign: the last counts of Coliseum, which a job asks for when a member does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core.database import execute, row
from models.jobs.ledger import JobRef, enqueue

SERIES = timedelta(hours=1)
"""Length of the series of minutes."""
FRESH = timedelta(seconds=2)
"""Time for which an answer of Coliseum serves all members who ask."""


@dataclass(frozen=True, slots=True)
class LiveMetrics:
    """Counts of events in force, by kind and by minute. `as_of` None: Coliseum has not answered yet."""

    as_of: datetime | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    minutes: Sequence[Mapping[str, Any]] = ()


def request(campaign_id: UUID) -> JobRef:
    """Enqueue the question for Coliseum, unless it was asked within `FRESH`."""
    return enqueue("coliseum.read", campaign_id, unique="within", window=FRESH, subject=("campaign", campaign_id))


def store(campaign_id: UUID, metrics: LiveMetrics) -> None:
    """Store an answer for a campaign of the job's brand, unless a later one is stored."""
    execute(
        "INSERT INTO public.campaign_metrics AS m (brand_id, campaign_id, as_of, totals, minutes)"
        " VALUES ((SELECT app.job_brand()), %s, %s, %s, %s)"
        " ON CONFLICT (campaign_id) DO UPDATE SET as_of = excluded.as_of, totals = excluded.totals,"
        " minutes = excluded.minutes WHERE m.as_of < excluded.as_of",
        (campaign_id, metrics.as_of, json.dumps(dict(metrics.totals)), json.dumps(list(metrics.minutes), default=str)),
    )


def read(campaign_id: UUID) -> LiveMetrics:
    """Return the last answer for a campaign that the caller may see."""
    found = row("SELECT as_of, totals, minutes FROM public.campaign_metrics WHERE campaign_id = %s", (campaign_id,))
    return LiveMetrics(**found) if found else LiveMetrics()
