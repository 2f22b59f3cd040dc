"""Events, guest lists, tickets and check-ins: the rules of the local implementation of Concierto.

Every operation first locks the row of its event, so the operations on an event are serial: the capacity is never
exceeded, and a ticket checks in once. A caller's transaction contains one operation.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from models.core import context
from models.core.database import execute, now, row, rows
from models.passport.refusals import (
    AlreadyCheckedIn,
    AtCapacity,
    EventNotOpen,
    NotOnGuestList,
    PartyExceeded,
    TicketCancelled,
    TicketHeld,
    TicketRequired,
    TicketsNotOffered,
    UnknownCheckIn,
    UnknownEvent,
    UnknownTicket,
)

Admission = Literal["open", "guest_list", "tickets"]

RETENTION = timedelta(days=365)
"""Time after the end of an event for which it is kept."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of an event. `opens_at` None: people are admitted from the publication on. `capacity` None: no limit."""

    name: str
    venue: str | None
    admission: Admission
    capacity: int | None
    opens_at: datetime | None
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """An event whose row is locked. `issued` counts tickets, `inside` people."""

    id: UUID
    version: int
    admission: Admission
    capacity: int | None
    opens_at: datetime | None
    ends_at: datetime
    closed_at: datetime | None
    issued: int
    inside: int

    def admits_at(self, at: datetime) -> bool:
        """Return whether an arrival at this time is within the hours of the event."""
        return (self.opens_at is None or at >= self.opens_at) and self.lasts_at(at)

    def lasts_at(self, at: datetime) -> bool:
        """Return whether the event is neither over nor closed at this time."""
        return at <= self.ends_at and (self.closed_at is None or at <= self.closed_at)

    def has_room_for(self, taken: int, more: int) -> bool:
        """Return whether the capacity allows `more` beside the `taken` places."""
        return self.capacity is None or taken + more <= self.capacity


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest with the number of people of the party, the guest included."""

    guest: UUID
    party: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """People who arrive together: with a ticket, as a guest, or with neither."""

    check_in: UUID
    ticket: UUID | None
    guest: UUID | None
    subject: UUID | None
    people: int
    at: datetime
    gate: str | None


_EVENT = """
SELECT id, version, admission, capacity, opens_at, ends_at, closed_at, issued, inside
FROM public.concierto_events WHERE id = %s FOR UPDATE
"""
_PUBLISH = """
INSERT INTO public.concierto_events AS known
    (id, brand_id, version, name, venue, admission, capacity, opens_at, ends_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (brand_id, id) DO UPDATE SET version = excluded.version, name = excluded.name, venue = excluded.venue,
    admission = excluded.admission, capacity = excluded.capacity, opens_at = excluded.opens_at,
    ends_at = excluded.ends_at
WHERE known.version < excluded.version
"""
_INVITE = """
INSERT INTO public.concierto_guests AS known (event_id, id, brand_id, party)
SELECT %s, id, %s, party FROM unnest(%s::uuid[], %s::int[]) AS guest (id, party)
ON CONFLICT (brand_id, event_id, id) DO UPDATE SET removed_at = NULL, party = greatest(excluded.party, known.arrived)
"""
_CHECK_IN = """
INSERT INTO public.concierto_check_ins (event_id, id, brand_id, ticket_id, guest_id, subject, people, at, gate)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_EXPIRE = """
WITH past AS (SELECT brand_id, id FROM public.concierto_events WHERE ends_at < %s),
    check_ins AS (DELETE FROM public.concierto_check_ins WHERE (brand_id, event_id) IN (SELECT brand_id, id FROM past)),
    tickets AS (DELETE FROM public.concierto_tickets WHERE (brand_id, event_id) IN (SELECT brand_id, id FROM past)),
    guests AS (DELETE FROM public.concierto_guests WHERE (brand_id, event_id) IN (SELECT brand_id, id FROM past))
DELETE FROM public.concierto_events WHERE id IN (SELECT id FROM past)
"""


def publish(event_id: UUID, version: int, plan: Plan) -> Event:
    """Store the plan of an event and open it. A plan of an older version changes nothing. A closed event stays closed.

    A capacity below the number of tickets or people takes nothing from them: no more are added.
    """
    execute(_PUBLISH, (event_id, _brand_id(), version, *astuple(plan)))
    return _get_for_update(event_id)


def close(event_id: UUID, at: datetime) -> Event:
    """Refuse arrivals after a time. An earlier end stays."""
    _get_for_update(event_id)
    execute("UPDATE public.concierto_events SET closed_at = least(closed_at, %s) WHERE id = %s", (at, event_id))
    return _get_for_update(event_id)


def invite(event_id: UUID, guests: Sequence[Guest]) -> None:
    """Put guests on the list, or change the size of their parties. A party is not smaller than its arrivals."""
    _get_for_update(event_id)
    execute(_INVITE, (event_id, _brand_id(), [each.guest for each in guests], [each.party for each in guests]))


def uninvite(event_id: UUID, guest_ids: list[UUID]) -> None:
    """Take guests off the list. Those who have arrived stay checked in."""
    _get_for_update(event_id)
    execute(
        "UPDATE public.concierto_guests SET removed_at = coalesce(removed_at, now())"
        " WHERE event_id = %s AND id = ANY (%s)",
        (event_id, guest_ids),
    )


def issue_ticket(event_id: UUID, ticket_id: UUID, subject: UUID) -> None:
    """Issue a ticket. A ticket that is known, also a cancelled one, stays as it is.

    Raises:
        UnknownEvent, TicketsNotOffered, EventNotOpen, TicketHeld, AtCapacity: by their names.
    """
    event = _get_for_update(event_id)
    if rows("SELECT FROM public.concierto_tickets WHERE event_id = %s AND id = %s", (event_id, ticket_id)):
        return
    if event.admission != "tickets":
        raise TicketsNotOffered
    if not event.lasts_at(now()):
        raise EventNotOpen
    held = "SELECT FROM public.concierto_tickets WHERE event_id = %s AND subject = %s AND cancelled_at IS NULL"
    if rows(held, (event_id, subject)):
        raise TicketHeld
    if not event.has_room_for(event.issued, 1):
        raise AtCapacity
    execute(
        "INSERT INTO public.concierto_tickets (event_id, id, brand_id, subject) VALUES (%s, %s, %s, %s)",
        (event_id, ticket_id, _brand_id(), subject),
    )
    _count(event_id, issued=1)


def cancel_ticket(event_id: UUID, ticket_id: UUID) -> None:
    """Cancel a ticket, which frees its place. A cancelled ticket stays cancelled.

    Raises:
        UnknownEvent, UnknownTicket: there is none.
        AlreadyCheckedIn: the ticket is used.
    """
    _get_for_update(event_id)
    if not _ticket_is_valid(event_id, ticket_id):
        return
    _require_not_inside(event_id, "ticket_id", ticket_id)
    execute(
        "UPDATE public.concierto_tickets SET cancelled_at = now() WHERE event_id = %s AND id = %s",
        (event_id, ticket_id),
    )
    _count(event_id, issued=-1)


def check_in(event_id: UUID, arrival: Arrival) -> None:
    """Admit people. A check-in that is known, also one that was undone, stays as it is.

    Raises:
        Problem: one of `ARRIVAL_REFUSALS`.
    """
    event = _get_for_update(event_id)
    if _check_in(event_id, arrival.check_in) is not None:
        return
    if not event.admits_at(arrival.at):
        raise EventNotOpen
    _require_admission(event, arrival)
    if not event.has_room_for(event.inside, arrival.people):
        raise AtCapacity
    people = (arrival.ticket, arrival.guest, arrival.subject, arrival.people, arrival.at, arrival.gate)
    execute(_CHECK_IN, (event_id, arrival.check_in, _brand_id(), *people))
    _count(event_id, inside=arrival.people)
    _count_arrivals(event_id, arrival.guest, arrival.people)


def undo_check_in(event_id: UUID, check_in_id: UUID) -> None:
    """Undo a check-in: its places are free, and its ticket can check in again. It stays undone.

    Raises:
        UnknownEvent, UnknownCheckIn: there is none.
    """
    _get_for_update(event_id)
    known = _check_in(event_id, check_in_id)
    if known is None:
        raise UnknownCheckIn
    if known["undone_at"] is not None:
        return
    execute(
        "UPDATE public.concierto_check_ins SET undone_at = now() WHERE event_id = %s AND id = %s",
        (event_id, check_in_id),
    )
    _count(event_id, inside=-known["people"])
    _count_arrivals(event_id, known["guest_id"], -known["people"])


def read(event_id: UUID) -> tuple[Event, int]:
    """Return an event, and the number of people whom its guest list invites."""
    found = rows(
        "SELECT coalesce(sum(party), 0) AS invited FROM public.concierto_guests"
        " WHERE event_id = %s AND removed_at IS NULL",
        (event_id,),
    )
    return _get_for_update(event_id), int(found[0]["invited"])


def expire() -> None:
    """Delete events that ended before the retention period, as a system job, with all that belongs to them."""
    execute(_EXPIRE, (now() - RETENTION,))


def _require_admission(event: Event, arrival: Arrival) -> None:
    """Require a valid ticket, a place on the guest list, or an event that is open to all.

    Raises:
        Problem: one of `ARRIVAL_REFUSALS`.
    """
    if arrival.ticket is not None:
        if not _ticket_is_valid(event.id, arrival.ticket):
            raise TicketCancelled
        _require_not_inside(event.id, "ticket_id", arrival.ticket)
    elif arrival.guest is not None:
        _require_place_in_party(event.id, arrival.guest, arrival.people)
    elif event.admission == "tickets":
        raise TicketRequired
    elif event.admission == "guest_list":
        raise NotOnGuestList
    elif arrival.subject is not None:
        _require_not_inside(event.id, "subject", arrival.subject)


def _require_place_in_party(event_id: UUID, guest_id: UUID, people: int) -> None:
    guest = row(
        "SELECT party, arrived FROM public.concierto_guests WHERE event_id = %s AND id = %s AND removed_at IS NULL",
        (event_id, guest_id),
    )
    if guest is None:
        raise NotOnGuestList
    if guest["arrived"] >= guest["party"]:
        raise AlreadyCheckedIn
    if guest["arrived"] + people > guest["party"]:
        raise PartyExceeded


_INSIDE = {
    "ticket_id": "SELECT FROM public.concierto_check_ins WHERE event_id = %s AND ticket_id = %s AND undone_at IS NULL",
    "subject": "SELECT FROM public.concierto_check_ins WHERE event_id = %s AND subject = %s AND undone_at IS NULL",
}
"""Queries of check-ins that are in force, by the column that names who is inside."""


def _require_not_inside(event_id: UUID, column: Literal["ticket_id", "subject"], value: UUID) -> None:
    if rows(_INSIDE[column], (event_id, value)):
        raise AlreadyCheckedIn


def _ticket_is_valid(event_id: UUID, ticket_id: UUID) -> bool:
    """Return whether a ticket is not cancelled.

    Raises:
        UnknownTicket: there is none.
    """
    sql = "SELECT cancelled_at FROM public.concierto_tickets WHERE event_id = %s AND id = %s"
    found = row(sql, (event_id, ticket_id))
    if found is None:
        raise UnknownTicket
    return found["cancelled_at"] is None


def _check_in(event_id: UUID, check_in_id: UUID) -> dict[str, Any] | None:
    sql = "SELECT people, guest_id, undone_at FROM public.concierto_check_ins WHERE event_id = %s AND id = %s"
    return row(sql, (event_id, check_in_id))


def _count(event_id: UUID, *, issued: int = 0, inside: int = 0) -> None:
    sql = "UPDATE public.concierto_events SET issued = issued + %s, inside = inside + %s WHERE id = %s"
    execute(sql, (issued, inside, event_id))


def _count_arrivals(event_id: UUID, guest_id: UUID | None, people: int) -> None:
    sql = "UPDATE public.concierto_guests SET arrived = arrived + %s WHERE event_id = %s AND id = %s"
    execute(sql, (people, event_id, guest_id))


def _get_for_update(event_id: UUID) -> Event:
    """Lock the row of an event until the transaction ends, and return the event.

    Raises:
        UnknownEvent: there is none.
    """
    found = row(_EVENT, (event_id,))
    if found is None:
        raise UnknownEvent
    return Event(**found)


def _brand_id() -> UUID | None:
    identity = context.current()
    assert identity is not None
    return identity.brand_id
