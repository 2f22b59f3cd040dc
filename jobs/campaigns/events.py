"""Actors of events, which call Concierto: publish and close, guest lists, tickets, check-ins."""

from datetime import timedelta
from functools import partial
from uuid import UUID

from jobs.engine import RetryLater, actor, current_job, own_transaction
from jobs.passport.contract import ServiceRefused
from jobs.passport.services.concierto import concierto
from jobs.passport.services.concierto.contract import (
    CancelTicket,
    CheckIn,
    Close,
    Guest,
    Invite,
    IssueTicket,
    Publish,
    UndoCheckIn,
    Uninvite,
)
from models.campaigns import campaigns, check_ins, events, guests, tickets
from models.core.database import now
from models.jobs.ledger import enqueue
from models.passport import concierto as local_concierto

GIVE_UP = timedelta(days=3)
"""Time for which tickets, guests and check-ins wait for a Concierto that does not respond."""

event_actor = partial(actor, runs_as="brand", outward=True, max_attempts=None, give_up_after=GIVE_UP)
"""Declare an actor that calls Concierto."""


@event_actor("event.publish")
def publish_event(campaign_id: UUID) -> None:
    """Send the plan of an event to Concierto, and its guest list afterwards."""
    with own_transaction():
        campaign = campaigns.get(campaign_id)
    plan, config, ends_at = events.plan_of(campaign), campaign.config, events.end_of(campaign.config)
    assert ends_at is not None  # The launch requires it.
    request = Publish(
        event=campaign_id,
        version=campaign.version,
        name=campaign.name,
        venue=events.venue_text(config),
        admission=plan["admission"],
        capacity=plan["capacity"],
        opens_at=events.opening_of(config),
        ends_at=ends_at,
    )
    concierto().publish(request, key=f"{current_job().idempotency_key}-publish-{campaign.version}")
    with own_transaction():
        enqueue("guest_list.sync", campaign_id, unique="while_waiting", subject=("campaign", campaign_id))


@event_actor("event.close")
def close_event(campaign_id: UUID) -> None:
    """Close a completed event: Concierto refuses later arrivals."""
    with own_transaction():
        campaign = campaigns.get(campaign_id)
    try:
        concierto().close(Close(campaign_id, campaign.completed_at or now()), key=current_job().idempotency_key)
    except ServiceRefused as refusal:
        _require_unpublished(refusal)


# One at a time: an older job would put a guest back on the list whom a newer one has removed.
@event_actor("guest_list.sync", time_limit=60.0, max_per_brand=1)
def sync_guest_list(campaign_id: UUID) -> None:
    """Send new guests of an event to Concierto, and take removed ones off its list."""
    with own_transaction():
        added, removed = guests.unsettled(campaign_id, "pending"), guests.unsettled(campaign_id, "removing")
    try:
        while added:
            ids = [guest.id for guest in added]
            request = Invite(campaign_id, [Guest(guest.id, guest.party) for guest in added])
            concierto().invite(request, key=_key_of("invite", ids))
            with own_transaction():
                guests.settle_listed(ids)
                added = guests.unsettled(campaign_id, "pending")
        while removed:
            ids = [guest.id for guest in removed]
            concierto().uninvite(Uninvite(campaign_id, ids), key=_key_of("uninvite", ids))
            with own_transaction():
                guests.settle_removed(ids)
                removed = guests.unsettled(campaign_id, "removing")
    except ServiceRefused as refusal:
        _require_unpublished(refusal)
        # Concierto knows no guest of the event. The publication enqueues this job again.
        with own_transaction():
            guests.settle_removed([guest.id for guest in removed])


def _key_of(operation: str, ids: list[UUID]) -> str:
    """Return the key of a batch: another batch, after a retry, is another call."""
    return f"{current_job().idempotency_key}-{operation}-{ids[0]}-{len(ids)}-{ids[-1]}"


def _require_unpublished(refusal: ServiceRefused) -> None:
    if refusal.code != "unknown_event":
        raise refusal


@event_actor("ticket.issue")
def issue_ticket(ticket_id: UUID) -> None:
    """Ask Concierto for a ticket, and store its decision."""
    with own_transaction():
        ticket = tickets.load(ticket_id)
    if ticket is None or ticket.state != "requested":
        return
    try:
        request = IssueTicket(ticket.campaign_id, ticket_id, ticket.user_id)
        concierto().issue_ticket(request, key=current_job().idempotency_key)
    except ServiceRefused as refusal:
        with own_transaction():
            tickets.settle(ticket_id, "refused", refusal.code)
        return
    with own_transaction():
        tickets.settle(ticket_id, "issued")


@event_actor("ticket.cancel")
def cancel_ticket(ticket_id: UUID) -> None:
    """Cancel a ticket at Concierto. A ticket that is checked in stays."""
    with own_transaction():
        ticket = tickets.load(ticket_id)
    if ticket is None or ticket.state in ("refused", "cancelled"):
        return
    if ticket.state == "requested":
        # Concierto may be down for long: the wait grows with the attempts, up to a minute.
        raise RetryLater(min(float(current_job().attempt), 60.0), "the ticket is not issued yet")
    try:
        concierto().cancel_ticket(CancelTicket(ticket.campaign_id, ticket_id), key=current_job().idempotency_key)
    except ServiceRefused as refusal:
        if refusal.code != "already_checked_in":
            raise
        return
    with own_transaction():
        tickets.settle(ticket_id, "cancelled")


@event_actor("check_in.decide")
def decide_check_in(check_in_id: UUID) -> None:
    """Ask Concierto to admit people, and store its decision."""
    with own_transaction():
        check_in = check_ins.load(check_in_id)
    if check_in is None or check_in.state != "pending":
        return
    by_name = check_in.ticket_id or check_in.guest_id
    request = CheckIn(
        event=check_in.campaign_id,
        check_in=check_in_id,
        at=check_in.scanned_at,
        people=check_in.people,
        ticket=check_in.ticket_id,
        guest=check_in.guest_id,
        subject=None if by_name else check_in.user_id,
        gate=check_in.gate,
    )
    try:
        concierto().check_in(request, key=current_job().idempotency_key)
    except ServiceRefused as refusal:
        with own_transaction():
            check_ins.refuse(check_in_id, refusal.code)
        return
    with own_transaction():
        check_ins.accept(check_in_id)


@event_actor("check_in.undo")
def undo_check_in(check_in_id: UUID) -> None:
    """Undo a check-in at Concierto, and store it."""
    with own_transaction():
        check_in = check_ins.load(check_in_id)
    if check_in is None or check_in.state != "accepted":
        return
    concierto().undo_check_in(UndoCheckIn(check_in.campaign_id, check_in_id), key=current_job().idempotency_key)
    with own_transaction():
        check_ins.undo(check_in_id)


@actor("events.expire", runs_as="system", time_limit=300.0)
def expire_events() -> None:
    """Delete guest lists, tickets and check-ins of events that are long over."""
    events.expire()
    local_concierto.expire()
