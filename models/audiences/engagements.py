"""Engagements: the part of each fan in a campaign, folded from the engagement events.

A fold recomputes the engagements of the people with new events from all their events. So it doesn't matter in which
order events arrive, and how often they are folded.
"""

from datetime import datetime, timedelta
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import context, locks
from models.core.database import Row, execute, rows

FOLD_BATCH = 2000
"""Number of events that one fold includes at most."""
KEEP_EVENTS = timedelta(days=3 * 365)
"""Retention of engagement events after their month. Engagements count the events that are kept."""
MONTHS_AHEAD = 2
"""Monthly partitions of the events that are created ahead."""


class Engagement(Row):
    """A fan's part in a campaign: the number of events in force by kind, and the first and last occurrence."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    first_at = DateTimeTZField()
    last_at = DateTimeTZField()
    scans = peewee.IntegerField(default=0)
    surveys = peewee.IntegerField(default=0)
    rewards_granted = peewee.IntegerField(default=0)
    rewards_claimed = peewee.IntegerField(default=0)
    rewards_redeemed = peewee.IntegerField(default=0)
    check_ins = peewee.IntegerField(default=0)
    conversions = peewee.IntegerField(default=0)

    class Meta:
        """Name and key of the table."""

        table_name = "engagements"
        primary_key = peewee.CompositeKey("campaign_id", "user_id")


_TAKE = """
WITH taken AS (
    SELECT brand_id, event_id, user_id FROM app.engagement_outbox
    WHERE campaign_id = %s AND NOT folded ORDER BY event_id LIMIT %s
)
UPDATE app.engagement_outbox o SET folded = true, user_id = NULL FROM taken
WHERE o.brand_id = taken.brand_id AND o.event_id = taken.event_id
RETURNING taken.user_id
"""


def fold(campaign_id: UUID) -> bool:
    """Fold the new events of a campaign of the job's brand. Return whether there may be more."""
    # Serialise: without the lock, an older count could be written after a newer one.
    locks.acquire("engagements", campaign_id)
    taken = rows(_TAKE, (campaign_id, FOLD_BATCH))
    people = {found["user_id"] for found in taken if found["user_id"]}
    if people:
        execute("SELECT app.recount_engagements(%s, %s::uuid[])", (campaign_id, sorted(people)))
    return len(taken) == FOLD_BATCH


def rotate_events() -> list[str]:
    """Create the next monthly partitions of the events, and drop those after their retention. Return their names."""
    found = rows("SELECT name FROM app.rotate_engagement_events(%s, %s) AS name", (MONTHS_AHEAD, KEEP_EVENTS))
    return [partition["name"] for partition in found]


def find_own(*, limit: int, after: tuple[datetime, UUID] | None = None) -> list[Engagement]:
    """Return up to `limit` engagements of the calling person, latest first.

    Args:
        limit: maximum number of engagements.
        after: `last_at` and `campaign_id` of the engagement before the first one to return.
    """
    identity = context.current()
    assert identity is not None
    query = Engagement.select().where(Engagement.user_id == identity.user_id)
    if after is not None:
        query = query.where(peewee.Tuple(Engagement.last_at, Engagement.campaign_id) < after)
    return list(query.order_by(Engagement.last_at.desc(), Engagement.campaign_id.desc()).limit(limit))
