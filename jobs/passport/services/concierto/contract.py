"""Contract of Concierto: requests, answers and refusals of operations, which docs/services/concierto.md explains."""

from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

from msgspec import Meta, Struct

from jobs.passport.contract import Operation, Service

MAX_GUESTS = 500
"""Maximum number of guests in one request."""

Event = Annotated[UUID, Meta(description="Id of the event, chosen by the caller: the id of its campaign.")]
TicketId = Annotated[UUID, Meta(description="Id of the ticket, chosen by the caller and unique in the event.")]
GuestId = Annotated[UUID, Meta(description="Id of the guest, chosen by the caller and unique in the event.")]
CheckInId = Annotated[UUID, Meta(description="Id of the check-in, chosen by the caller and unique in the event.")]
Subject = Annotated[UUID, Meta(description="Opaque id of the person; no address and no name.")]
Time = Annotated[datetime, Meta(tz=True)]
People = Annotated[int, Meta(ge=1, le=100, description="Number of people.")]
Count = Annotated[int, Meta(ge=0)]


class Publish(Struct, frozen=True):
    """An event to store and to open. A newer version replaces the plan; any other changes nothing. Closed is final."""

    event: Event
    version: Annotated[int, Meta(ge=1, description="Version of the plan.")]
    name: Annotated[str, Meta(min_length=1, max_length=200, description="Name of the event, for people.")]
    venue: Annotated[str | None, Meta(description="Name and address of the place, for people; null: unknown.")]
    admission: Annotated[
        Literal["open", "guest_list", "tickets"],
        Meta(description="Who may check in: everyone, guests of the list, or people with a ticket."),
    ]
    capacity: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Maximum number of tickets, and of people who are checked in; null: no limit."),
    ]
    opens_at: Annotated[Time | None, Meta(description="First time of an arrival; null: any time before `ends_at`.")]
    ends_at: Annotated[Time, Meta(description="Last time of an arrival.")]


class Close(Struct, frozen=True):
    """An event to close: arrivals after `at` are refused, earlier ones may still be reported."""

    event: Event
    at: Annotated[Time, Meta(description="Time of the closing.")]


class Guest(Struct, frozen=True):
    """A guest, with the people who come along."""

    guest: GuestId
    party: Annotated[People, Meta(description="Size of the party, the guest included.")] = 1


class Invite(Struct, frozen=True):
    """Guests to put on the list. A known guest gets the new size of the party."""

    event: Event
    guests: Annotated[list[Guest], Meta(min_length=1, max_length=MAX_GUESTS, description="Different guests.")]


class Uninvite(Struct, frozen=True):
    """Guests to take off the list. Those who have arrived stay checked in."""

    event: Event
    guests: Annotated[list[GuestId], Meta(min_length=1, max_length=MAX_GUESTS, description="Ids of the guests.")]


class IssueTicket(Struct, frozen=True):
    """A ticket for a person. A known ticket, also a cancelled one, stays as it is."""

    event: Event
    ticket: TicketId
    subject: Subject


class CancelTicket(Struct, frozen=True):
    """A ticket to cancel. Its place is free again."""

    event: Event
    ticket: TicketId


class CheckIn(Struct, frozen=True):
    """People to admit: with a ticket, as guests, or, at an open event, with neither.

    A known check-in, also one that was undone, stays as it is.
    """

    event: Event
    check_in: CheckInId
    at: Annotated[Time, Meta(description="Time of the arrival, by the clock of the gate. It may be reported later.")]
    people: Annotated[People, Meta(description="Number of people who arrive together; 1 with a ticket.")] = 1
    ticket: Annotated[TicketId | None, Meta(description="Ticket that they show.")] = None
    guest: Annotated[GuestId | None, Meta(description="Guest to whose party they belong.")] = None
    subject: Annotated[Subject | None, Meta(description="Person without a ticket, if known. Checks in once.")] = None
    gate: Annotated[Annotated[str, Meta(max_length=200)] | None, Meta(description="Entrance, for people.")] = None


class UndoCheckIn(Struct, frozen=True):
    """A check-in to undo: its places are free, and its ticket can check in again under another id."""

    event: Event
    check_in: CheckInId


class AttendanceOf(Struct, frozen=True):
    """An event whose attendance is asked for."""

    event: Event


class Attendance(Struct, frozen=True):
    """The event after an operation."""

    event: Event
    capacity: Annotated[int | None, Meta(description="Maximum number of people; null: no limit.")]
    issued: Annotated[Count, Meta(description="Tickets that are not cancelled.")]
    invited: Annotated[Count, Meta(description="People whom the guest list invites.")]
    inside: Annotated[Count, Meta(description="People who are checked in.")]


class Concierto(Protocol):
    """Events, guest lists, tickets and check-ins. The structs of the requests describe the operations."""

    def publish(self, request: Publish, *, key: str) -> Attendance:
        """Store the plan of an event and open it."""

    def close(self, request: Close, *, key: str) -> Attendance:
        """Refuse later arrivals."""

    def invite(self, request: Invite, *, key: str) -> Attendance:
        """Put guests on the list."""

    def uninvite(self, request: Uninvite, *, key: str) -> Attendance:
        """Take guests off the list."""

    def issue_ticket(self, request: IssueTicket, *, key: str) -> Attendance:
        """Issue a ticket."""

    def cancel_ticket(self, request: CancelTicket, *, key: str) -> Attendance:
        """Cancel a ticket."""

    def check_in(self, request: CheckIn, *, key: str) -> Attendance:
        """Admit people."""

    def undo_check_in(self, request: UndoCheckIn, *, key: str) -> Attendance:
        """Undo a check-in."""

    def attendance(self, request: AttendanceOf, *, key: str) -> Attendance:
        """Return the attendance of an event."""


_OF_EVENT = ("unknown_event",)

SERVICE = Service(
    "concierto",
    operations=(
        Operation("publish", Publish, Attendance),
        Operation("close", Close, Attendance, refusals=_OF_EVENT),
        Operation("invite", Invite, Attendance, refusals=_OF_EVENT),
        Operation("uninvite", Uninvite, Attendance, refusals=_OF_EVENT),
        Operation(
            "issue_ticket",
            IssueTicket,
            Attendance,
            refusals=(*_OF_EVENT, "event_not_open", "tickets_not_offered", "ticket_held", "at_capacity"),
        ),
        Operation(
            "cancel_ticket", CancelTicket, Attendance, refusals=(*_OF_EVENT, "unknown_ticket", "already_checked_in")
        ),
        Operation(
            "check_in",
            CheckIn,
            Attendance,
            refusals=(
                *_OF_EVENT,
                "event_not_open",
                "unknown_ticket",
                "ticket_cancelled",
                "ticket_required",
                "not_on_guest_list",
                "party_exceeded",
                "already_checked_in",
                "at_capacity",
            ),
        ),
        Operation("undo_check_in", UndoCheckIn, Attendance, refusals=(*_OF_EVENT, "unknown_check_in")),
        Operation("attendance", AttendanceOf, Attendance, refusals=_OF_EVENT),
    ),
)
"""Concierto as the gateway calls it."""
