"""Refusals of Concierto: the local implementation raises them, and the API shows those of every implementation."""

from datetime import datetime
from typing import Annotated

import msgspec

from models.core.errors import Conflict, Members, NotFound, Problem


class AtCapacity(Conflict):
    """The event has no place left."""

    code = "at_capacity"


class EventNotOpen(Conflict):
    """The event has not opened, is over, or is not launched."""

    code = "event_not_open"


class NotOnGuestList(Conflict):
    """The event admits guests of its list only, and the person is not on it."""

    code = "not_on_guest_list"


class PartyExceeded(Conflict):
    """More people arrive than the party of the guest has left."""

    code = "party_exceeded"


class TicketCancelled(Conflict):
    """The ticket is cancelled."""

    code = "ticket_cancelled"


class TicketHeld(Conflict):
    """The person has another ticket of the event."""

    code = "ticket_held"


class TicketRequired(Conflict):
    """The event admits people with a ticket only."""

    code = "ticket_required"


class TicketsNotOffered(Conflict):
    """The event has no tickets."""

    code = "tickets_not_offered"


class UnknownCheckIn(NotFound):
    """The event has no such check-in."""

    code = "unknown_check_in"


class UnknownEvent(NotFound):
    """The event is not published."""

    code = "unknown_event"


class UnknownTicket(NotFound):
    """The text is no ticket of the event."""

    code = "unknown_ticket"


class AlreadyCheckedInMembers(Members):
    """The earlier check-in, as far as it is known here."""

    checked_in_at: Annotated[
        datetime | None, msgspec.Meta(description="Time of the earlier arrival, in UTC; null: unknown.")
    ] = None
    gate: Annotated[
        str | None, msgspec.Meta(description="Entrance of the earlier arrival; null: unknown.", examples=["North gate"])
    ] = None


class AlreadyCheckedIn(Conflict):
    """The ticket, the person or the whole party is checked in already; says when and where."""

    code = "already_checked_in"
    members = AlreadyCheckedInMembers


ARRIVAL_REFUSALS: tuple[type[Problem], ...] = (
    AlreadyCheckedIn,
    AtCapacity,
    EventNotOpen,
    NotOnGuestList,
    PartyExceeded,
    TicketCancelled,
    TicketRequired,
    UnknownEvent,
    UnknownTicket,
)
"""Refusals of an arrival."""
