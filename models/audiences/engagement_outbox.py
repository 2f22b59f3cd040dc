"""Engagement events on their way: recorded, then folded, then delivered to Coliseum.

A row exists until its event is delivered. So an event of a transaction that commits late is never passed over, and a
delivery that is interrupted is repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.audiences.engagement_events import EngagementKind
from models.core.database import execute, rows
from models.jobs.ledger import enqueue

STALLED = timedelta(minutes=5)
"""Age of an event from which a sweep enqueues the jobs that handle it, if there are none."""
DELIVERY_DELAY = timedelta(seconds=1)
"""Delay of a delivery, so that it includes other events of the brand."""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """A folded event that waits for delivery, without its person."""

    event_id: UUID
    campaign_id: UUID
    kind: EngagementKind
    occurred_at: datetime
    reversal_of: UUID | None


def waiting(limit: int) -> list[WaitingEvent]:
    """Return up to `limit` events of the job's brand that wait for delivery."""
    found = rows(
        "SELECT event_id, campaign_id, kind, occurred_at, reversal_of FROM app.engagement_outbox"
        " WHERE brand_id = (SELECT app.job_brand()) AND folded ORDER BY event_id LIMIT %s",
        (limit,),
    )
    return [WaitingEvent(**event) for event in found]


def remove(events: Sequence[WaitingEvent]) -> None:
    """Delete delivered events of the job's brand."""
    execute(
        "DELETE FROM app.engagement_outbox WHERE brand_id = (SELECT app.job_brand()) AND event_id = ANY (%s::uuid[])",
        ([event.event_id for event in events],),
    )


def enqueue_delivery(brand_id: UUID | None = None) -> None:
    """Enqueue the delivery of a brand's events; the caller's brand by default. Waiting jobs of a brand run as one."""
    enqueue("coliseum.deliver", unique="while_waiting", delay=DELIVERY_DELAY, brand_id=brand_id)


# Grouped before jobs are looked for: while Coliseum is down, each of many events would meet each job of its brand.
_STALLED = """
SELECT o.brand_id, o.folded, o.campaign_id FROM (
    SELECT DISTINCT brand_id, folded, CASE WHEN NOT folded THEN campaign_id END AS campaign_id
    FROM app.engagement_outbox WHERE recorded_at < now() - %s
) o
WHERE NOT EXISTS (
    SELECT FROM app.jobs j
    WHERE j.brand_id = o.brand_id AND CASE
        WHEN o.folded THEN j.actor = 'coliseum.deliver'
        ELSE j.actor = 'engagements.fold' AND j.subject_id = o.campaign_id::text
    END)
"""


def sweep() -> list[dict[str, Any]]:
    """Enqueue folds and deliveries of events that are older than `STALLED` and have no live job: theirs have failed."""
    found = rows(_STALLED, (STALLED,))
    for one in found:
        if one["folded"]:
            enqueue_delivery(one["brand_id"])
        else:
            enqueue("engagements.fold", one["campaign_id"], unique="while_waiting", brand_id=one["brand_id"])
    return found
