"""Conformance of Concierto: what docs/services/concierto.md says holds for both implementations."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs.passport.contract import ServiceRefused
from jobs.passport.services.concierto import concierto
from jobs.passport.services.concierto.contract import (
    Attendance,
    AttendanceOf,
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
from models.core.database import close_thread_connections

COUNTERPART = "concierto"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class Event:
    """An event at Concierto. Each call has a key of its own."""

    def __init__(self) -> None:
        self.id = uuid4()

    def publish(self, version: int = 1, **plan: Any) -> Attendance:
        """Publish the event, which has opened an hour ago and lasts for another, with changes of the plan."""
        usual = {"name": "Night", "venue": None, "admission": "open", "capacity": None}
        hours = {"opens_at": NOW - HOUR, "ends_at": NOW + HOUR}
        return concierto().publish(Publish(self.id, version, **{**usual, **hours, **plan}), key=_key())

    def arrive(self, *, check_in: UUID | None = None, at: datetime = NOW, **by: Any) -> Attendance:
        """Check people in."""
        return concierto().check_in(CheckIn(self.id, check_in or uuid4(), at, **by), key=_key())

    def issue(self, ticket: UUID | None = None, subject: UUID | None = None) -> UUID:
        """Issue a ticket and return its id."""
        ticket = ticket or uuid4()
        concierto().issue_ticket(IssueTicket(self.id, ticket, subject or uuid4()), key=_key())
        return ticket

    def invite(self, party: int) -> UUID:
        """Put a guest on the list and return the guest's id."""
        guest = uuid4()
        concierto().invite(Invite(self.id, [Guest(guest, party)]), key=_key())
        return guest

    def figures(self) -> tuple[int, int, int]:
        """Return the numbers of tickets, of invited people and of people inside."""
        found = concierto().attendance(AttendanceOf(self.id), key=_key())
        return found.issued, found.invited, found.inside


def _key() -> str:
    return str(uuid4())


def refused(call: Callable[[], Any]) -> str | None:
    """Return the code with which a call is refused; None if it is not refused."""
    try:
        call()
    except ServiceRefused as refusal:
        return refusal.code
    return None


@pytest.fixture(autouse=True)
def brand_job(implementation: str, as_job: Any, brand: dict[str, Any]) -> Iterator[None]:
    """Run each test as a job of a brand."""
    with as_job(brand_id=brand["id"]):
        yield


def test_event_counts_and_refuses_after_its_capacity() -> None:
    event = Event()
    event.publish(capacity=3)

    event.arrive(people=2)

    assert refused(lambda: event.arrive(people=2)) == "at_capacity"
    assert event.arrive(subject=uuid4()).inside == 3
    assert refused(event.arrive) == "at_capacity"
    assert event.publish(version=2, capacity=4).inside == 3
    assert event.arrive().inside == 4


def test_plan_of_older_version_changes_nothing() -> None:
    event = Event()
    event.publish(version=2, capacity=1)

    assert event.publish(version=1, capacity=9).capacity == 1
    assert event.publish(version=3, capacity=None).capacity is None


def test_arrival_outside_the_hours_is_refused_by_its_own_time() -> None:
    event = Event()
    event.publish()

    assert refused(lambda: event.arrive(at=NOW - 2 * HOUR)) == "event_not_open"
    assert refused(lambda: event.arrive(at=NOW + 2 * HOUR)) == "event_not_open"

    concierto().close(Close(event.id, NOW), key=_key())
    event.publish(version=2)
    assert event.arrive(at=NOW - HOUR / 2).inside == 1
    assert refused(lambda: event.arrive(at=NOW + HOUR / 2)) == "event_not_open"
    assert refused(Event().arrive) == "unknown_event"


def test_ticket_checks_in_once_until_it_is_undone() -> None:
    event, check_in = Event(), uuid4()
    event.publish(admission="tickets")
    ticket = event.issue()

    event.arrive(ticket=ticket, check_in=check_in)
    repeated = event.arrive(ticket=ticket, check_in=check_in)
    again = refused(lambda: event.arrive(ticket=ticket))
    undone = [concierto().undo_check_in(UndoCheckIn(event.id, check_in), key=_key()) for _ in range(2)]

    assert (repeated.inside, again, [each.inside for each in undone]) == (1, "already_checked_in", [0, 0])
    assert event.arrive(ticket=ticket, check_in=check_in).inside == 0
    assert event.arrive(ticket=ticket).inside == 1
    assert refused(event.arrive) == "ticket_required"
    assert refused(lambda: event.arrive(ticket=uuid4())) == "unknown_ticket"
    unknown = UndoCheckIn(event.id, uuid4())
    assert refused(lambda: concierto().undo_check_in(unknown, key=_key())) == "unknown_check_in"


def test_cancelled_ticket_frees_its_place_and_checks_in_nobody() -> None:
    event = Event()
    event.publish(admission="tickets", capacity=1)
    person, ticket = uuid4(), uuid4()
    event.issue(ticket, person)
    event.issue(ticket, person)

    assert refused(lambda: event.issue(subject=person)) == "ticket_held"
    assert refused(event.issue) == "at_capacity"

    cancel = CancelTicket(event.id, ticket)
    assert [concierto().cancel_ticket(cancel, key=_key()).issued for _ in range(2)] == [0, 0]
    assert refused(lambda: event.arrive(ticket=ticket)) == "ticket_cancelled"

    other = event.issue(subject=person)
    event.arrive(ticket=other)
    used = CancelTicket(event.id, other)
    assert refused(lambda: concierto().cancel_ticket(used, key=_key())) == "already_checked_in"
    assert event.figures() == (1, 0, 1)


def test_tickets_of_other_events_are_refused() -> None:
    event = Event()
    event.publish(admission="open")
    over = Event()
    over.publish(admission="tickets", ends_at=NOW - HOUR / 2)

    assert refused(event.issue) == "tickets_not_offered"
    assert refused(over.issue) == "event_not_open"


def test_party_arrives_in_groups_up_to_its_size() -> None:
    event = Event()
    event.publish(admission="guest_list", capacity=10)
    guest = event.invite(party=4)

    event.arrive(guest=guest, people=3)

    assert refused(lambda: event.arrive(guest=guest, people=2)) == "party_exceeded"
    assert event.arrive(guest=guest).inside == 4
    assert refused(lambda: event.arrive(guest=guest)) == "already_checked_in"
    assert refused(event.arrive) == "not_on_guest_list"
    assert event.figures() == (0, 4, 4)


def test_removed_guest_is_not_admitted_and_counts_until_undone() -> None:
    event = Event()
    event.publish(admission="guest_list")
    guest = event.invite(party=2)
    event.arrive(guest=guest)

    concierto().uninvite(Uninvite(event.id, [guest, uuid4()]), key=_key())

    assert refused(lambda: event.arrive(guest=guest)) == "not_on_guest_list"
    assert event.figures() == (0, 0, 1)


def test_person_without_ticket_checks_in_once() -> None:
    event, person = Event(), uuid4()
    event.publish()
    event.arrive(subject=person)

    assert refused(lambda: event.arrive(subject=person)) == "already_checked_in"
    assert event.arrive().inside == 2


def test_concurrent_arrivals_never_exceed_the_capacity() -> None:
    event = Event()
    event.publish(admission="tickets", capacity=6)
    tickets = [event.issue() for _ in range(3)]
    event.publish(version=2, admission="open", capacity=6)
    arrivals: list[dict[str, Any]] = [{"ticket": ticket} for ticket in tickets * 2] + [{}] * 6

    def arrive(by: dict[str, Any]) -> str | None:
        try:
            return refused(lambda: event.arrive(**by))
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(copy_context().run, arrive, by) for by in arrivals]
        outcomes = Counter(run.result() for run in runs)

    assert outcomes[None] == 6
    assert event.figures()[2] == 6
    assert set(outcomes) <= {None, "at_capacity", "already_checked_in"}
