"""The local implementation of Concierto, on PostgreSQL."""

from uuid import UUID

from msgspec.structs import asdict

from jobs.passport.local import once
from jobs.passport.services.concierto.contract import (
    SERVICE,
    Attendance,
    AttendanceOf,
    CancelTicket,
    CheckIn,
    Close,
    Invite,
    IssueTicket,
    Publish,
    UndoCheckIn,
    Uninvite,
)
from models.passport import concierto
from models.passport.concierto import Arrival, Guest, Plan


class LocalConcierto:
    """Concierto over the rules in `models.passport.concierto`."""

    def publish(self, request: Publish, *, key: str) -> Attendance:
        """Store the plan of an event and open it."""
        return once(SERVICE.name, _publish, request, Attendance, key=key)

    def close(self, request: Close, *, key: str) -> Attendance:
        """Refuse later arrivals."""
        return once(SERVICE.name, _close, request, Attendance, key=key)

    def invite(self, request: Invite, *, key: str) -> Attendance:
        """Put guests on the list."""
        return once(SERVICE.name, _invite, request, Attendance, key=key)

    def uninvite(self, request: Uninvite, *, key: str) -> Attendance:
        """Take guests off the list."""
        return once(SERVICE.name, _uninvite, request, Attendance, key=key)

    def issue_ticket(self, request: IssueTicket, *, key: str) -> Attendance:
        """Issue a ticket."""
        return once(SERVICE.name, _issue_ticket, request, Attendance, key=key)

    def cancel_ticket(self, request: CancelTicket, *, key: str) -> Attendance:
        """Cancel a ticket."""
        return once(SERVICE.name, _cancel_ticket, request, Attendance, key=key)

    def check_in(self, request: CheckIn, *, key: str) -> Attendance:
        """Admit people."""
        return once(SERVICE.name, _check_in, request, Attendance, key=key)

    def undo_check_in(self, request: UndoCheckIn, *, key: str) -> Attendance:
        """Undo a check-in."""
        return once(SERVICE.name, _undo_check_in, request, Attendance, key=key)

    def attendance(self, request: AttendanceOf, *, key: str) -> Attendance:
        """Return the attendance of an event."""
        return once(SERVICE.name, _attendance, request, Attendance, key=key)


def _publish(request: Publish) -> Attendance:
    plan = asdict(request)
    concierto.publish(plan.pop("event"), plan.pop("version"), Plan(**plan))
    return _attendance_of(request.event)


def _close(request: Close) -> Attendance:
    concierto.close(request.event, request.at)
    return _attendance_of(request.event)


def _invite(request: Invite) -> Attendance:
    concierto.invite(request.event, [Guest(each.guest, each.party) for each in request.guests])
    return _attendance_of(request.event)


def _uninvite(request: Uninvite) -> Attendance:
    concierto.uninvite(request.event, request.guests)
    return _attendance_of(request.event)


def _issue_ticket(request: IssueTicket) -> Attendance:
    concierto.issue_ticket(request.event, request.ticket, request.subject)
    return _attendance_of(request.event)


def _cancel_ticket(request: CancelTicket) -> Attendance:
    concierto.cancel_ticket(request.event, request.ticket)
    return _attendance_of(request.event)


def _check_in(request: CheckIn) -> Attendance:
    arrival = asdict(request)
    concierto.check_in(arrival.pop("event"), Arrival(**arrival))
    return _attendance_of(request.event)


def _undo_check_in(request: UndoCheckIn) -> Attendance:
    concierto.undo_check_in(request.event, request.check_in)
    return _attendance_of(request.event)


def _attendance(request: AttendanceOf) -> Attendance:
    return _attendance_of(request.event)


def _attendance_of(event_id: UUID) -> Attendance:
    event, invited = concierto.read(event_id)
    return Attendance(event_id, event.capacity, event.issued, invited, event.inside)
