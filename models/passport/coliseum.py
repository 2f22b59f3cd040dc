"""Analytics events and live metrics: the rules of the local implementation of Coliseum.

Every event is counted once for its id. Sums of events and reversals don't depend on their order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core.database import execute, now, row, rows, value

KEEP_EVENTS = timedelta(days=35)
"""Retention of events by id. An event that arrives again later would be counted twice."""
MAX_WINDOW = timedelta(hours=24)
"""Maximum length of the series of minutes."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event to count: +1, or -1 if it reverses another."""

    id: UUID
    campaign_id: UUID
    kind: str
    occurred_at: datetime
    is_reversal: bool


def open_campaign(campaign_id: UUID) -> datetime:
    """Register a campaign of the job's brand and return the time of its first registration."""
    execute(
        "INSERT INTO public.coliseum_campaigns (brand_id, campaign_id) VALUES ((SELECT app.job_brand()), %s)"
        " ON CONFLICT DO NOTHING",
        (campaign_id,),
    )
    opened: datetime = value("SELECT opened_at FROM public.coliseum_campaigns WHERE campaign_id = %s", (campaign_id,))
    return opened


# Sorted, because two batches that update the totals of several campaigns would deadlock otherwise.
_INGEST = """
WITH added AS (
    INSERT INTO public.coliseum_events (brand_id, event_id, campaign_id, kind, occurred_at, n)
    SELECT (SELECT app.job_brand()), e.id, e.campaign_id, e.kind, e.occurred_at, e.n
    FROM jsonb_to_recordset(%s) AS e (id uuid, campaign_id uuid, kind text, occurred_at timestamptz, n smallint)
    ORDER BY e.id
    ON CONFLICT DO NOTHING
    RETURNING brand_id, campaign_id, kind, n
),
counted AS (
    INSERT INTO public.coliseum_totals AS t (brand_id, campaign_id, kind, n)
    SELECT a.brand_id, a.campaign_id, a.kind, sum(a.n) FROM added a GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (brand_id, campaign_id, kind) DO UPDATE SET n = t.n + excluded.n
)
SELECT count(*) AS added FROM added
"""


def ingest(events: Sequence[Event]) -> int:
    """Count events of the job's brand that are not counted yet. Return their number."""
    content = [
        {
            "id": str(event.id),
            "campaign_id": str(event.campaign_id),
            "kind": event.kind,
            "occurred_at": event.occurred_at.isoformat(),
            "n": -1 if event.is_reversal else 1,
        }
        for event in events
    ]
    found = row(_INGEST, (json.dumps(content),))
    assert found is not None
    return int(found["added"])


@dataclass(frozen=True, slots=True)
class Move:
    """Numbers of contacts that entered and left a segment at one time."""

    id: UUID
    segment_id: UUID
    at: datetime
    entered: int
    left: int


_INGEST_MOVES = """
WITH added AS (
    INSERT INTO public.coliseum_moves (brand_id, event_id, segment_id, at, entered, gone)
    SELECT (SELECT app.job_brand()), m.id, m.segment_id, m.at, m.entered, m.gone
    FROM jsonb_to_recordset(%s) AS m (id uuid, segment_id uuid, at timestamptz, entered int, gone int)
    ORDER BY m.id
    ON CONFLICT DO NOTHING
    RETURNING brand_id, segment_id, entered, gone
),
counted AS (
    INSERT INTO public.coliseum_segments AS t (brand_id, segment_id, entered, gone)
    SELECT a.brand_id, a.segment_id, sum(a.entered), sum(a.gone) FROM added a GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (brand_id, segment_id) DO UPDATE
    SET entered = t.entered + excluded.entered, gone = t.gone + excluded.gone
)
SELECT count(*) AS added FROM added
"""


def ingest_moves(moves: Sequence[Move]) -> int:
    """Count moves of the job's brand that are not counted yet. Return their number."""
    content = [
        {
            "id": str(move.id),
            "segment_id": str(move.segment_id),
            "at": move.at.isoformat(),
            "entered": move.entered,
            "gone": move.left,
        }
        for move in moves
    ]
    return int(value(_INGEST_MOVES, (json.dumps(content),)))


def segment_totals(segment_id: UUID) -> tuple[int, int]:
    """Return the numbers of contacts that entered and left a segment of the job's brand."""
    found = row("SELECT entered, gone FROM public.coliseum_segments WHERE segment_id = %s", (segment_id,))
    return (found["entered"], found["gone"]) if found else (0, 0)


def totals(campaign_id: UUID) -> list[dict[str, Any]]:
    """Return the number of events in force by `kind`, as `n`."""
    return rows(
        "SELECT kind, n FROM public.coliseum_totals WHERE campaign_id = %s AND n <> 0 ORDER BY kind", (campaign_id,)
    )


def minutes(campaign_id: UUID, since: datetime) -> list[dict[str, Any]]:
    """Return the events in force by `minute` of occurrence and `kind`, as `n`, at most `MAX_WINDOW` back."""
    return rows(
        "SELECT date_trunc('minute', occurred_at) AS minute, kind, sum(n)::bigint AS n FROM public.coliseum_events"
        " WHERE campaign_id = %s AND occurred_at >= %s GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
        (campaign_id, max(since, now() - MAX_WINDOW)),
    )


def expire() -> None:
    """Delete events and moves after `KEEP_EVENTS`. The totals stay."""
    execute("DELETE FROM public.coliseum_events WHERE received_at < now() - %s", (KEEP_EVENTS,))
    execute("DELETE FROM public.coliseum_moves WHERE received_at < now() - %s", (KEEP_EVENTS,))
