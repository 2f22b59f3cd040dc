"""Numbers of contacts that entered and left segments, on their way to Coliseum.

A row is added in the transaction of the memberships and exists until it is delivered, so each arrives once, by its id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.audiences import engagement_outbox
from models.core.database import execute, new_id, rows


@dataclass(frozen=True, slots=True)
class WaitingMove:
    """Numbers of contacts that entered and left a segment at one time."""

    event_id: UUID
    segment_id: UUID
    at: datetime
    entered: int
    gone: int


def add(segment_id: UUID, at: datetime, *, entered: int, left: int) -> None:
    """Add a move of a segment of the job's brand, and enqueue its delivery. Without a move nothing is added."""
    if entered or left:
        execute(
            "INSERT INTO app.segment_outbox (brand_id, event_id, segment_id, at, entered, gone)"
            " VALUES ((SELECT app.job_brand()), %s, %s, %s, %s, %s)",
            (new_id(), segment_id, at, entered, left),
        )
        engagement_outbox.enqueue_delivery()


def waiting(limit: int) -> list[WaitingMove]:
    """Return up to `limit` moves of the job's brand that wait for delivery."""
    found = rows(
        "SELECT event_id, segment_id, at, entered, gone FROM app.segment_outbox"
        " WHERE brand_id = (SELECT app.job_brand()) ORDER BY event_id LIMIT %s",
        (limit,),
    )
    return [WaitingMove(**move) for move in found]


def remove(moves: Sequence[WaitingMove]) -> None:
    """Delete delivered moves of the job's brand."""
    execute(
        "DELETE FROM app.segment_outbox WHERE brand_id = (SELECT app.job_brand()) AND event_id = ANY (%s::uuid[])",
        ([move.event_id for move in moves],),
    )


_STALLED = """
SELECT o.brand_id FROM (SELECT DISTINCT brand_id FROM app.segment_outbox WHERE recorded_at < now() - %s) o
WHERE NOT EXISTS (SELECT FROM app.jobs j WHERE j.brand_id = o.brand_id AND j.actor = 'coliseum.deliver')
"""


def sweep() -> None:
    """Enqueue deliveries of old moves that have no live job: theirs has failed."""
    for one in rows(_STALLED, (engagement_outbox.STALLED,)):
        engagement_outbox.enqueue_delivery(one["brand_id"])
