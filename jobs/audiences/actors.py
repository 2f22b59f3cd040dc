"""Actors of the domain audiences."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

# These modules declare actors.
from jobs.audiences import contact_sync as contact_sync
from jobs.audiences import mediaid as mediaid
from jobs.audiences import transfer as transfer
from jobs.engine import actor, current_job, own_transaction
from jobs.passport.contract import ServiceUnavailable
from jobs.passport.services.coliseum import coliseum
from jobs.passport.services.coliseum.contract import MAX_EVENTS, Batch, Event, MetricsOf
from models.audiences import (
    activity,
    changes,
    contacts,
    engagement_outbox,
    engagements,
    live_metrics,
    membership,
    membership_history,
    recomputation,
)
from models.audiences.engagement_outbox import WaitingEvent
from models.audiences.live_metrics import LiveMetrics
from models.core.database import now
from models.jobs.ledger import enqueue
from models.passport import coliseum as coliseum_store

MAX_BATCHES = 20
"""Batches that one delivery sends at most. A further job sends the rest, so that other brands have their turn."""


@actor("contact.upsert", runs_as="brand")
def upsert_contact(user_id: UUID) -> None:
    """Create or update the brand's contact of a person."""
    contacts.upsert(user_id)


@actor("engagements.fold", runs_as="brand", time_limit=60.0)
def fold_engagements(campaign_id: UUID) -> None:
    """Fold the new engagement events of a campaign, then deliver them."""
    if engagements.fold(campaign_id):
        enqueue("engagements.fold", campaign_id, unique="while_waiting")
    engagement_outbox.enqueue_delivery()


@actor("segments.apply", runs_as="brand", time_limit=60.0, max_per_brand=1)
def apply_changes() -> None:
    """Apply changes of the brand's contacts. A further job applies the rest, so that other brands have their turn."""
    brand_id = _brand()
    if membership.apply(brand_id):
        changes.enqueue_apply(brand_id, delay=timedelta())


@actor("activity.recompute", queue="outward", outward=True, time_limit=600.0, max_per_brand=1)
def recompute_activity() -> None:
    """Fold the activity of all contacts of the brand, in steps: its days are those of a new time zone."""
    after: UUID | None = None
    while True:
        current_job().check_cancelled()
        with own_transaction():
            after = activity.recompute(_brand(), after)
            if after is None:
                recomputation.request_all(_brand())
        if after is None:
            return


@actor("segment.recompute", queue="outward", outward=True, time_limit=600.0, max_per_brand=1)
def recompute_segment(segment_id: UUID) -> None:
    """Compute all members of a segment, in steps. An interrupted job begins again: each step is idempotent."""
    job = current_job()
    with own_transaction():
        run = recomputation.begin(_brand(), segment_id)
    after, done = None, 0
    while run is not None:
        job.progress(done, run.contacts, "contacts")
        with own_transaction():
            step = recomputation.step(_brand(), segment_id, after)
            if step is not None and step.is_last:
                recomputation.finish(segment_id, run)
        if step is None or step.is_last:
            return
        after, done = step.last, done + step.contacts


def _brand() -> UUID:
    brand_id = current_job().identity.brand_id
    assert brand_id is not None
    return brand_id


@actor("segments.tick", runs_as="system", time_limit=60.0)
def tick_segments() -> None:
    """Enqueue the computations of segments that depend on the time, after full hours and midnights of their brands."""
    recomputation.enqueue_due()


@actor("segments.expire", runs_as="system", time_limit=300.0)
def expire_memberships() -> None:
    """Delete memberships that ended long ago."""
    membership_history.expire()


@actor("segments.sweep", runs_as="system", time_limit=60.0)
def sweep_changes() -> None:
    """Enqueue the jobs of changes whose own jobs have failed for good."""
    changes.sweep()


@actor(
    "coliseum.deliver",
    queue="outward",
    runs_as="brand",
    outward=True,
    time_limit=300.0,
    max_per_brand=1,
    max_attempts=None,
    give_up_after=timedelta(days=3),
)
def deliver_engagements() -> None:
    """Deliver the brand's engagement events to Coliseum. An event that is sent twice is counted once, by its id."""
    for _ in range(MAX_BATCHES):
        with own_transaction():
            events = engagement_outbox.waiting(MAX_EVENTS)
        if not events:
            return
        coliseum().ingest(Batch([_event(one) for one in events]), key=_key(events))
        with own_transaction():
            engagement_outbox.remove(events)
        if len(events) < MAX_EVENTS:
            return
    with own_transaction():
        engagement_outbox.enqueue_delivery()


def _event(waiting: WaitingEvent) -> Event:
    return Event(waiting.event_id, waiting.campaign_id, waiting.kind, waiting.occurred_at, waiting.reversal_of)


def _key(events: Sequence[WaitingEvent]) -> str:
    """Return the key of a batch. It depends on the events: the next attempt of a job may send others."""
    return "events-" + hashlib.sha256(b"".join(event.event_id.bytes for event in events)).hexdigest()


@actor("coliseum.read", queue="outward", outward=True, max_attempts=3)
def read_live_metrics(campaign_id: UUID) -> None:
    """Ask Coliseum for the live metrics of a campaign, and store them. Without an answer, the stored ones stay."""
    since = now() - live_metrics.SERIES
    # Each attempt asks about another period, so each has a key of its own.
    key = f"{current_job().idempotency_key}-{since.isoformat()}"
    try:
        found = coliseum().metrics(MetricsOf(campaign_id, since), key=key)
    except ServiceUnavailable:
        return
    minutes = [{"minute": one.minute.isoformat(), "kind": one.kind, "n": one.n} for one in found.minutes]
    totals: dict[str, int] = {one.kind: one.n for one in found.totals}
    with own_transaction():
        live_metrics.store(campaign_id, LiveMetrics(found.as_of, totals, minutes))


@actor("engagements.sweep", runs_as="system", time_limit=60.0)
def sweep_engagement_events() -> None:
    """Enqueue the jobs of engagement events whose own jobs have failed for good."""
    engagement_outbox.sweep()


@actor("engagements.rotate", runs_as="system", time_limit=300.0)
def rotate_engagement_events() -> None:
    """Create the next monthly partitions of the engagement events and drop the oldest."""
    engagements.rotate_events()


@actor("coliseum.expire", runs_as="system", time_limit=300.0)
def expire_coliseum_events() -> None:
    """Delete the old events of the local Coliseum."""
    coliseum_store.expire()
