"""Actors of the domain audiences."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

# These modules declare actors.
from jobs.audiences import contact_sync as contact_sync
from jobs.audiences import mediaid as mediaid
from jobs.audiences import transfer as transfer
from jobs.engine import actor, current_job, own_transaction
from jobs.passport.contract import ServiceUnavailable
from jobs.passport.services.coliseum import coliseum
from jobs.passport.services.coliseum.contract import (
    MAX_EVENTS,
    Batch,
    Event,
    MetricsOf,
    SegmentMove,
    SegmentMoves,
)
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
    segment_outbox,
)
from models.audiences.engagement_outbox import WaitingEvent
from models.audiences.live_metrics import LiveMetrics
from models.audiences.segment_outbox import WaitingMove
from models.core.database import now
from models.jobs.ledger import enqueue
from models.passport import coliseum as coliseum_store

Waiting = TypeVar("Waiting")
"""A row of an outbox."""
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
    """Deliver the brand's engagement events and moves of segments to Coliseum. What is sent twice is counted once."""
    have_more = [
        _deliver(engagement_outbox.waiting, _send_events, engagement_outbox.remove),
        _deliver(segment_outbox.waiting, _send_moves, segment_outbox.remove),
    ]
    if any(have_more):
        with own_transaction():
            engagement_outbox.enqueue_delivery()


def _deliver(
    waiting: Callable[[int], Sequence[Waiting]],
    send: Callable[[Sequence[Waiting]], object],
    remove: Callable[[Sequence[Waiting]], None],
) -> bool:
    """Send rows of an outbox in batches. Return whether it may have more."""
    for _ in range(MAX_BATCHES):
        with own_transaction():
            found = waiting(MAX_EVENTS)
        if not found:
            return False
        send(found)
        with own_transaction():
            remove(found)
        if len(found) < MAX_EVENTS:
            return False
    return True


def _send_events(events: Sequence[WaitingEvent]) -> None:
    sent = [Event(one.event_id, one.campaign_id, one.kind, one.occurred_at, one.reversal_of) for one in events]
    coliseum().ingest(Batch(sent), key=_key("events", [one.event_id for one in events]))


def _send_moves(moves: Sequence[WaitingMove]) -> None:
    sent = [SegmentMove(one.event_id, one.segment_id, one.at, one.entered, one.gone) for one in moves]
    coliseum().ingest_moves(SegmentMoves(sent), key=_key("moves", [one.event_id for one in moves]))


def _key(kind: str, event_ids: Sequence[UUID]) -> str:
    """Return the key of a batch. It depends on the events: the next attempt of a job may send others."""
    return f"{kind}-" + hashlib.sha256(b"".join(one.bytes for one in event_ids)).hexdigest()


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
    segment_outbox.sweep()


@actor("engagements.rotate", runs_as="system", time_limit=300.0)
def rotate_engagement_events() -> None:
    """Create the next monthly partitions of the engagement events and drop the oldest."""
    engagements.rotate_events()


@actor("coliseum.expire", runs_as="system", time_limit=300.0)
def expire_coliseum_events() -> None:
    """Delete the old events of the local Coliseum."""
    coliseum_store.expire()
