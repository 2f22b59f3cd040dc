"""Check-ins at events: requested at a gate or by a fan's own scan, decided by Concierto, undone by members.

The row exists before Concierto is asked, so nothing is lost while Concierto is down: the check-in is `pending`, and a
job has it decided later, by the time of the arrival.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences import engagement_events
from models.campaigns import events, tickets
from models.campaigns.guests import Guest
from models.campaigns.tickets import Ticket
from models.core.database import Row, new_id, now, row
from models.core.enumerations import enumeration
from models.core.errors import Conflict, FieldError, Invalid, Members, NotFound, Problem
from models.jobs.ledger import JobRef, enqueue
from models.passport.refusals import AlreadyCheckedIn, EventNotOpen, UnknownTicket
from models.webhooks import outbox

MAX_LATENESS = timedelta(hours=24)
"""Maximum time between an arrival and its receipt: a gate may be without a network."""
MAX_CLOCK_ERROR = timedelta(minutes=5)
"""Maximum time by which the clock of a gate may be wrong."""

CheckInState = Annotated[
    Literal["pending", "accepted", "refused", "undone"],
    enumeration(
        "CheckInState",
        "State of a check-in. `pending`: not decided yet. `accepted`: the people are inside. `refused`: they were not "
        "admitted. `undone`: it was accepted, and then undone.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""


class ScanRequired(Conflict):
    """The caller has no fresh accepted scan of the event with this id."""

    code = "scan_required"


class CheckInNotAcceptedMembers(Members):
    """The state of the check-in."""

    state: Annotated[CheckInState, msgspec.Meta(description="Present state of the check-in.")]


class CheckInNotAccepted(Conflict):
    """Only an accepted check-in can be undone."""

    code = "check_in_not_accepted"
    members = CheckInNotAcceptedMembers


class CheckIn(Row):
    """A check-in of one or more people at an event."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    ticket_id = peewee.UUIDField(null=True)
    guest_id = peewee.UUIDField(null=True)
    user_id = peewee.UUIDField(null=True)
    scan_id = peewee.UUIDField(null=True)
    people = peewee.IntegerField(default=1)
    gate = peewee.TextField(null=True)
    scanned_at = DateTimeTZField()
    state = peewee.TextField(default="pending")
    refusal = peewee.TextField(null=True)
    job_id = peewee.UUIDField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "check_ins"


def request(
    campaign_id: UUID,
    *,
    ticket: str | None,
    guest_id: UUID | None,
    people: int,
    gate: str | None,
    scanned_at: datetime | None,
) -> tuple[CheckIn, JobRef]:
    """Store an arrival at a gate, and enqueue the job that decides it.

    Args:
        campaign_id: the event.
        ticket: code of a ticket.
        guest_id: the guest to whose party the people belong.
        people: number of people who arrive together; 1 with a ticket.
        gate: the entrance.
        scanned_at: time of the arrival; None: now.

    Raises:
        NotFound: the brand has no such campaign.
        NotAnEvent: the campaign is of another type.
        EventNotOpen: the event is paused, or was not launched at the time of the arrival.
        UnknownTicket: the text is no ticket of the event.
        Invalid: the fields contradict each other, or the time is out of range.
    """
    campaign, at = events.get(campaign_id), now()
    if campaign.status not in ("Active", "Completed"):
        raise EventNotOpen
    _require_consistent(ticket, guest_id, people, scanned_at or at, at)
    if scanned_at is not None and scanned_at < campaign.launched_at - MAX_CLOCK_ERROR:
        raise EventNotOpen
    shown, guest = _ticket_of(campaign_id, ticket), _guest_of(campaign_id, guest_id)
    id = new_id()
    job = enqueue("check_in.decide", id, subject=("check_in", id))
    check_in = CheckIn.create(
        id=id,
        brand_id=campaign.brand_id,
        campaign_id=campaign_id,
        ticket_id=shown and shown.id,
        guest_id=guest and guest.id,
        user_id=shown.user_id if shown else guest and guest.user_id,
        people=people,
        gate=gate,
        scanned_at=scanned_at or at,
        job_id=job.id,
        created_at=at,
        updated_at=at,
    )
    return check_in, job


def request_undo(campaign_id: UUID, check_in_id: UUID) -> JobRef | None:
    """Enqueue the job that undoes a check-in. Return None if it is undone.

    Raises:
        NotFound: the event has no such check-in.
        CheckInNotAccepted: it is pending or refused.
    """
    check_in = get(campaign_id, check_in_id)
    if check_in.state == "undone":
        return None
    if check_in.state != "accepted":
        raise CheckInNotAccepted(state=check_in.state)
    return enqueue("check_in.undo", check_in_id, unique="until_done", subject=("check_in", check_in_id))


def get(campaign_id: UUID, check_in_id: UUID) -> CheckIn:
    """Return a check-in of an event.

    Raises:
        NotFound: the event has no such check-in, or the caller may not see it.
    """
    found: CheckIn | None = CheckIn.get_or_none(CheckIn.id == check_in_id, CheckIn.campaign_id == campaign_id)
    if found is None:
        raise NotFound
    return found


def find(
    campaign_id: UUID, *, limit: int, after: UUID | None = None, state: CheckInState | None = None
) -> list[CheckIn]:
    """Return up to `limit` check-ins of an event, newest first, that follow the one with the id `after`.

    Raises:
        NotFound: the brand has no such campaign.
        NotAnEvent: the campaign is of another type.
    """
    query = (
        CheckIn.select()
        .where(CheckIn.campaign_id == events.get(campaign_id).id)
        .order_by(CheckIn.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(CheckIn.id < after)
    if state is not None:
        query = query.where(CheckIn.state == state)
    return list(query)


def get_admitted(campaign_id: UUID, check_in_id: UUID) -> CheckIn:
    """Return a check-in that Concierto has not refused.

    Raises:
        Problem: Concierto has refused it; `code` says why, and for an earlier check-in when and where.
    """
    check_in = get(campaign_id, check_in_id)
    if check_in.state == "refused":
        raise refusal_of(check_in)
    return check_in


def refusal_of(check_in: CheckIn) -> Problem:
    """Return the refusal of a check-in as a problem."""
    if check_in.refusal != AlreadyCheckedIn.code:
        return Problem.of_code(str(check_in.refusal))
    earlier = row("SELECT * FROM app.earlier_check_in(%s)", (check_in.id,)) or {"scanned_at": None, "gate": None}
    return AlreadyCheckedIn(checked_in_at=earlier["scanned_at"], gate=earlier["gate"])


def load(check_in_id: UUID) -> CheckIn | None:
    """Return a check-in of the job's brand."""
    found: CheckIn | None = CheckIn.get_or_none(CheckIn.id == check_in_id)
    return found


def accept(check_in_id: UUID) -> None:
    """Record that Concierto has admitted the people, with the engagement and the brand's event."""
    for accepted in _change(check_in_id, "pending", state="accepted"):
        _record(accepted, reverses=False)
        data = {"check_in_id": accepted.id, "campaign_id": accepted.campaign_id, "user_id": accepted.user_id}
        outbox.publish("check_in.recorded", brand_id=accepted.brand_id, data=data)


def refuse(check_in_id: UUID, refusal: str) -> None:
    """Record that Concierto has not admitted the people."""
    _change(check_in_id, "pending", state="refused", refusal=refusal)


def undo(check_in_id: UUID) -> None:
    """Record that Concierto has undone an accepted check-in, and reverse the engagement."""
    for undone in _change(check_in_id, "accepted", state="undone"):
        _record(undone, reverses=True)


def _change(check_in_id: UUID, before: CheckInState, **changes: str) -> list[CheckIn]:
    update = CheckIn.update(updated_at=now(), **changes).where(CheckIn.id == check_in_id, CheckIn.state == before)
    return list(update.returning(CheckIn).execute())


def _record(check_in: CheckIn, *, reverses: bool) -> None:
    if check_in.user_id is None:
        return
    engagement_events.record(
        "check_in",
        brand_id=check_in.brand_id,
        campaign_id=check_in.campaign_id,
        user_id=check_in.user_id,
        source_id=check_in.id,
        occurred_at=check_in.scanned_at,
        reverses=reverses,
    )


def _require_consistent(
    ticket: str | None, guest_id: UUID | None, people: int, scanned_at: datetime, at: datetime
) -> None:
    errors = []
    if ticket is not None and guest_id is not None:
        errors.append(FieldError("guest_id", "must not be set with `ticket`"))
    if ticket is not None and people != 1:
        errors.append(FieldError("people", "must be 1 with `ticket`"))
    if scanned_at > at + MAX_CLOCK_ERROR:
        errors.append(FieldError("scanned_at", "must not be in the future"))
    if scanned_at < at - MAX_LATENESS:
        errors.append(FieldError("scanned_at", "must be within the last 24 hours"))
    if errors:
        raise Invalid(errors=errors)


def _ticket_of(campaign_id: UUID, text: str | None) -> Ticket | None:
    if text is None:
        return None
    ticket_id = tickets.read_code(text)
    found: Ticket | None = Ticket.get_or_none(Ticket.id == ticket_id, Ticket.campaign_id == campaign_id)
    if found is None:
        raise UnknownTicket
    return found


def _guest_of(campaign_id: UUID, guest_id: UUID | None) -> Guest | None:
    if guest_id is None:
        return None
    found: Guest | None = Guest.get_or_none(Guest.id == guest_id, Guest.campaign_id == campaign_id)
    if found is None:
        raise Invalid("guest_id", "must be a guest of the event")
    return found
