"""Tickets of fans: their rows, and the signed code that a fan shows at the entrance."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns.events import Refusal
from models.core import context, keys, signed_ids
from models.core.database import Row, after_commit, new_id, now, rows, value
from models.core.enumerations import enumeration
from models.core.errors import NotFound, Problem
from models.jobs.ledger import JobRef, notify_relay
from models.passport.refusals import AlreadyCheckedIn

TicketState = Annotated[
    Literal["requested", "issued", "refused", "cancelled"],
    enumeration(
        "TicketState",
        "State of a ticket. `requested`: a job issues it. `issued`: valid. `refused`: the event did not issue it. "
        "`cancelled`: its place is free again.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

_PURPOSE = "ticket"


class Ticket(Row):
    """A ticket of a person for an event."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    key_version = peewee.IntegerField()
    state = peewee.TextField()
    refusal = peewee.TextField(null=True)
    job_id = peewee.UUIDField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "tickets"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTicket:
    """A ticket of the caller, with its event. `config` is that of the campaign."""

    id: UUID
    campaign_id: UUID
    campaign_name: str
    config: dict[str, Any]
    key_version: int
    state: TicketState
    refusal: Refusal | None
    job_id: UUID
    created_at: datetime
    checked_in_at: datetime | None

    @property
    def code(self) -> str | None:
        """Return the signed text to show at the entrance; None unless the ticket is valid."""
        return signed_ids.make(_PURPOSE, self.id, self.key_version) if self.state == "issued" else None


def read_code(text: str) -> UUID | None:
    """Return the id of the ticket of a code; None if its signature is wrong."""
    return signed_ids.read(_PURPOSE, text)


def request(campaign_id: UUID) -> OwnTicket:
    """Request a ticket for the caller. Return the valid or requested one if there is one.

    Raises:
        Problem: `not_found`, `account_required`, `campaign_ended` or `campaign_not_active`.
    """
    arguments = (new_id(), campaign_id, keys.active_version(), new_id(), request_ids())
    id = value("SELECT app.request_ticket(%s, %s, %s, %s, %s)", arguments)
    after_commit(notify_relay)
    return get_own(id)


def request_cancellation(ticket_id: UUID) -> JobRef | None:
    """Request the cancellation of a ticket of the caller. Return None if the ticket is not valid.

    Raises:
        NotFound: the caller has no such ticket.
    """
    job_id = value("SELECT app.request_cancellation(%s, %s, %s)", (ticket_id, new_id(), request_ids()))
    after_commit(notify_relay)
    return job_id and JobRef(job_id)


def find_own(*, limit: int, after: UUID | None = None) -> list[OwnTicket]:
    """Return up to `limit` tickets of the caller, newest first, that follow the ticket `after`."""
    return [OwnTicket(**found) for found in rows("SELECT * FROM app.own_tickets(NULL, %s, %s)", (limit, after))]


def get_own(ticket_id: UUID) -> OwnTicket:
    """Return a ticket of the caller.

    Raises:
        NotFound: the caller has no such ticket.
    """
    for found in rows("SELECT * FROM app.own_tickets(%s, 1, NULL)", (ticket_id,)):
        return OwnTicket(**found)
    raise NotFound


def get_granted(ticket_id: UUID) -> OwnTicket:
    """Return a ticket of the caller that the event has not refused.

    Raises:
        Problem: the event has refused it; `code` says why.
    """
    ticket = get_own(ticket_id)
    if ticket.refusal is not None:
        raise Problem.of_code(ticket.refusal)
    return ticket


def get_cancelled(ticket_id: UUID) -> OwnTicket:
    """Return a ticket of the caller whose cancellation has ended.

    Raises:
        AlreadyCheckedIn: the person is inside, so the ticket stays.
    """
    ticket = get_granted(ticket_id)
    if ticket.state == "issued":
        raise AlreadyCheckedIn(checked_in_at=ticket.checked_in_at)
    return ticket


def load(ticket_id: UUID) -> Ticket | None:
    """Return a ticket of the job's brand."""
    found: Ticket | None = Ticket.get_or_none(Ticket.id == ticket_id)
    return found


def settle(ticket_id: UUID, state: TicketState, refusal: str | None = None) -> None:
    """Store the decision of Concierto. A cancelled ticket stays cancelled."""
    Ticket.update(state=state, refusal=refusal, updated_at=now()).where(
        Ticket.id == ticket_id, Ticket.state.in_(("requested", "issued"))
    ).execute()


def request_ids() -> str:
    """Return the ids of the current request as JSON, for a job that SQL enqueues."""
    return json.dumps({name: text or None for name, text in asdict(context.request_info()).items()})
