"""Engagement events: what fans do in campaigns, append-only. `engagements` folds them.

Every event has a source: a row of the domain that records it, such as a scan. A source's event can be reversed, and
recorded again after that. Each is a row of its own.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row, new_id, value
from models.core.enumerations import enumeration
from models.jobs.ledger import enqueue
from models.webhooks import outbox

EngagementKind = Annotated[
    Literal["scan", "survey", "reward_granted", "reward_claimed", "reward_redeemed", "check_in", "conversion"],
    enumeration(
        "EngagementKind",
        "What a fan did. `scan`: a scan that counts. `survey`: answers of a survey. `reward_granted`, "
        "`reward_claimed`, `reward_redeemed`: the steps of a reward. `check_in`: admission to an event. `conversion`: "
        "a purchase or another goal, reported by the brand.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

FOLD_DELAY = timedelta(milliseconds=300)
"""Delay of a fold, so that it includes other events of the campaign."""


class EngagementEvent(Row):
    """An event of a source, or (`reversal_of` is set) its reversal."""

    id = peewee.UUIDField()
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField(null=True)
    contact_id = peewee.UUIDField(null=True)
    kind = peewee.TextField()
    source_id = peewee.UUIDField()
    occurred_at = DateTimeTZField()
    revision = peewee.IntegerField()
    reversal_of = peewee.UUIDField(null=True)
    received_at = DateTimeTZField()

    class Meta:
        """Name and key of the table."""

        table_name = "engagement_events"
        primary_key = peewee.CompositeKey("brand_id", "kind", "source_id", "occurred_at", "revision")


def record(
    kind: EngagementKind,
    *,
    brand_id: UUID,
    campaign_id: UUID,
    user_id: UUID | None,
    source_id: UUID,
    occurred_at: datetime,
    reverses: bool = False,
    contact_id: UUID | None = None,
) -> bool:
    """Record an event of a source, or its reversal, in the caller's transaction. Return whether it is new.

    An event that is in force, and a reversal without an event in force, change nothing. The caller has locked the
    source's row, or has inserted it in this transaction.

    Args:
        kind: what the fan did.
        brand_id: the caller's brand.
        campaign_id: a campaign of the brand.
        user_id: the fan; None only for a contact without an account.
        source_id: the row that the event is about: a scan, a reward, a ticket, a conversion.
        occurred_at: a fixed property of the source. The same in every call for the source.
        reverses: whether the source no longer counts.
        contact_id: the contact, if there is no fan.

    Raises:
        Forbidden: the brand is not the caller's, or a member records something other than a conversion.
        NotFound: the brand has no such campaign.
    """
    is_new = bool(
        value(
            "SELECT app.record_engagement(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (new_id(), kind, brand_id, campaign_id, user_id, contact_id, source_id, occurred_at, reverses),
        )
    )
    if is_new:
        enqueue("engagements.fold", campaign_id, unique="while_waiting", delay=FOLD_DELAY)
        data = {"kind": kind, "source_id": source_id, "campaign_id": campaign_id, "user_id": user_id}
        outbox.publish("engagement.recorded", brand_id=brand_id, data=data | {"reverses": reverses})
    return is_new


def find(
    *,
    campaign_id: UUID | None = None,
    kind: EngagementKind | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
) -> list[EngagementEvent]:
    """Return up to `limit` events of the caller's brand, latest occurrence first.

    Args:
        campaign_id: only events of this campaign; one that the caller may not see has none.
        kind: only events of this kind.
        start: only events that occurred at this time or later.
        end: only events that occurred before this time.
        limit: maximum number of events.
        after: `occurred_at` and `id` of the event before the first one to return.
    """
    event = EngagementEvent
    query = EngagementEvent.select()
    if campaign_id is not None:
        query = query.where(event.campaign_id == campaign_id)
    if kind is not None:
        query = query.where(event.kind == kind)
    if start is not None:
        query = query.where(event.occurred_at >= start)
    if end is not None:
        query = query.where(event.occurred_at < end)
    if after is not None:
        query = query.where(peewee.Tuple(event.occurred_at, event.id) < after)
    return list(query.order_by(event.occurred_at.desc(), event.id.desc()).limit(limit))
