"""Engagement events on their way to CALS, as activities of contacts.

A row exists until CALS has the activity. So an event of a transaction that commits late is never passed over, and a
message that is interrupted is repeated: CALS stores an activity once, by its id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from models.core.database import execute, rows

ALONE = timedelta(days=1)
"""Age from which an event of a person without a contact is dropped: a contact is created soon after the event."""


@dataclass(frozen=True, slots=True)
class WaitingActivity:
    """An engagement event that CALS has not received. Without a contact it is not sent."""

    event_id: UUID
    occurred_at: datetime
    kind: str | None
    contact_id: UUID | None


# An event that has been reversed, whose partition is dropped, or whose person has no contact, has no `contact_id`.
_WAITING = """
SELECT o.event_id, o.occurred_at, e.kind, coalesce(c.merged_into, c.id) AS contact_id
FROM app.activity_outbox o
LEFT JOIN public.engagement_events e ON e.brand_id = o.brand_id AND e.occurred_at = o.occurred_at
    AND e.id = o.event_id
    AND NOT EXISTS (SELECT FROM public.engagement_events r WHERE r.brand_id = e.brand_id AND r.kind = e.kind
        AND r.source_id = e.source_id AND r.occurred_at = e.occurred_at AND r.revision = e.revision + 1)
LEFT JOIN public.contacts c ON c.brand_id = o.brand_id
    AND CASE WHEN e.user_id IS NULL THEN c.id = e.contact_id ELSE c.user_id = e.user_id END
WHERE o.brand_id = (SELECT app.job_brand()) AND (c.id IS NOT NULL OR e.id IS NULL OR o.recorded_at < now() - %s)
ORDER BY o.event_id LIMIT %s
"""


def waiting(limit: int) -> list[WaitingActivity]:
    """Return up to `limit` events of the job's brand that wait for CALS, or that will never be sent."""
    return [WaitingActivity(**found) for found in rows(_WAITING, (ALONE, limit))]


def remove(activities: Sequence[WaitingActivity]) -> None:
    """Delete events of the job's brand that CALS has received, or that will never be sent."""
    execute(
        "DELETE FROM app.activity_outbox WHERE brand_id = (SELECT app.job_brand()) AND event_id = ANY (%s::uuid[])",
        ([one.event_id for one in activities],),
    )


def brands() -> list[UUID]:
    """Return the brands with waiting events."""
    return [found["brand_id"] for found in rows("SELECT DISTINCT brand_id FROM app.activity_outbox")]
