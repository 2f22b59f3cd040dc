"""HTTP counterpart of Concierto, written from `docs/services/concierto.md` and its OpenAPI document alone."""

import sqlite3
from datetime import UTC, datetime
from typing import Any

from tests.counterparts.server import Refused, main

SCHEMA = """
create table events (id text primary key, version integer, admission text, capacity integer, opens real, ends real,
    closed real);
create table guests (event text, id text, party integer, listed integer, primary key (event, id));
create table tickets (event text, id text, subject text, valid integer, primary key (event, id));
create table arrivals (event text, id text, ticket text, guest text, subject text, people integer, counts integer,
    primary key (event, id));
"""
NOT_FOUND = 404
Request = dict[str, Any]


def _row(database: sqlite3.Connection, sql: str, *params: Any) -> Request | None:
    cursor = database.execute(sql, params)
    found = cursor.fetchone()
    return found and dict(zip([column[0] for column in cursor.description], found, strict=True))


def _number(database: sqlite3.Connection, sql: str, *params: Any) -> int:
    return int(database.execute(f"select coalesce(({sql}), 0)", params).fetchone()[0])


def _seconds(text: str | None) -> float | None:
    return text and datetime.fromisoformat(text).timestamp()


def _event(database: sqlite3.Connection, request: Request) -> Request:
    event = _row(database, "select * from events where id = ?", request["event"])
    if event is None:
        raise Refused("unknown_event", status=NOT_FOUND)
    return event


def attendance(database: sqlite3.Connection, request: Request) -> Request:
    """Report the figures of an event."""
    event, id = _event(database, request), request["event"]
    return {
        "event": id,
        "capacity": event["capacity"],
        "issued": _number(database, "select count(*) from tickets where event = ? and valid", id),
        "invited": _number(database, "select sum(party) from guests where event = ? and listed", id),
        "inside": _inside(database, id),
    }


def _inside(database: sqlite3.Connection, event: str) -> int:
    return _number(database, "select sum(people) from arrivals where event = ? and counts", event)


def publish(database: sqlite3.Connection, request: Request) -> Request:
    """Store a newer plan."""
    known = _row(database, "select version, closed from events where id = ?", request["event"])
    if known is None or known["version"] < request["version"]:
        times = (_seconds(request["opens_at"]), _seconds(request["ends_at"]), known and known["closed"])
        plan = (request["event"], request["version"], request["admission"], request["capacity"])
        database.execute("insert or replace into events values (?, ?, ?, ?, ?, ?, ?)", (*plan, *times))
    return attendance(database, request)


def close(database: sqlite3.Connection, request: Request) -> Request:
    """End the admission."""
    closed = _event(database, request)["closed"]
    at = min(_seconds(request["at"]) or 0, closed or float("inf"))
    database.execute("update events set closed = ? where id = ?", (at, request["event"]))
    return attendance(database, request)


def invite(database: sqlite3.Connection, request: Request) -> Request:
    """Put guests on the list."""
    event = _event(database, request)["id"]
    for guest in request["guests"]:
        party = max(guest.get("party", 1), _arrived(database, event, guest["guest"]))
        database.execute("insert or replace into guests values (?, ?, ?, 1)", (event, guest["guest"], party))
    return attendance(database, request)


def uninvite(database: sqlite3.Connection, request: Request) -> Request:
    """Take guests off the list."""
    event = _event(database, request)["id"]
    for guest in request["guests"]:
        database.execute("update guests set listed = 0 where event = ? and id = ?", (event, guest))
    return attendance(database, request)


def _arrived(database: sqlite3.Connection, event: str, guest: str) -> int:
    return _number(database, "select sum(people) from arrivals where event = ? and guest = ? and counts", event, guest)


def _is_over(event: Request, at: float) -> bool:
    return at > event["ends"] or (event["closed"] is not None and at > event["closed"])


def issue_ticket(database: sqlite3.Connection, request: Request) -> Request:
    """Issue a ticket."""
    event, id = _event(database, request), request["event"]
    if _row(database, "select id from tickets where event = ? and id = ?", id, request["ticket"]) is None:
        if event["admission"] != "tickets":
            raise Refused("tickets_not_offered")
        if _is_over(event, datetime.now(UTC).timestamp()):
            raise Refused("event_not_open")
        held = "select count(*) from tickets where event = ? and subject = ? and valid"
        if _number(database, held, id, request["subject"]):
            raise Refused("ticket_held")
        if event["capacity"] is not None and attendance(database, request)["issued"] >= event["capacity"]:
            raise Refused("at_capacity")
        database.execute("insert into tickets values (?, ?, ?, 1)", (id, request["ticket"], request["subject"]))
    return attendance(database, request)


def cancel_ticket(database: sqlite3.Connection, request: Request) -> Request:
    """Cancel a ticket."""
    id, ticket = _event(database, request)["id"], request["ticket"]
    if _ticket(database, id, ticket)["valid"]:
        _require_outside(database, id, "ticket", ticket)
        database.execute("update tickets set valid = 0 where event = ? and id = ?", (id, ticket))
    return attendance(database, request)


def _ticket(database: sqlite3.Connection, event: str, ticket: str) -> Request:
    found = _row(database, "select * from tickets where event = ? and id = ?", event, ticket)
    if found is None:
        raise Refused("unknown_ticket", status=NOT_FOUND)
    return found


def _require_outside(database: sqlite3.Connection, event: str, column: str, value: str) -> None:
    if _number(database, f"select count(*) from arrivals where event = ? and {column} = ? and counts", event, value):
        raise Refused("already_checked_in")


def check_in(database: sqlite3.Connection, request: Request) -> Request:
    """Admit people."""
    event, id, people = _event(database, request), request["event"], request.get("people", 1)
    if _row(database, "select id from arrivals where event = ? and id = ?", id, request["check_in"]) is not None:
        return attendance(database, request)
    at = _seconds(request["at"]) or 0
    if at < (event["opens"] or 0) or _is_over(event, at):
        raise Refused("event_not_open")
    _admit(database, event, request, people)
    if event["capacity"] is not None and _inside(database, id) + people > event["capacity"]:
        raise Refused("at_capacity")
    by = (request.get("ticket"), request.get("guest"), request.get("subject"))
    database.execute("insert into arrivals values (?, ?, ?, ?, ?, ?, 1)", (id, request["check_in"], *by, people))
    return attendance(database, request)


def _admit(database: sqlite3.Connection, event: Request, request: Request, people: int) -> None:
    id = event["id"]
    if request.get("ticket"):
        if not _ticket(database, id, request["ticket"])["valid"]:
            raise Refused("ticket_cancelled")
        _require_outside(database, id, "ticket", request["ticket"])
    elif request.get("guest"):
        guest = _row(database, "select party from guests where event = ? and id = ? and listed", id, request["guest"])
        if guest is None:
            raise Refused("not_on_guest_list")
        arrived = _arrived(database, id, request["guest"])
        if arrived >= guest["party"]:
            raise Refused("already_checked_in")
        if arrived + people > guest["party"]:
            raise Refused("party_exceeded")
    elif event["admission"] != "open":
        raise Refused({"tickets": "ticket_required", "guest_list": "not_on_guest_list"}[event["admission"]])
    elif request.get("subject"):
        _require_outside(database, id, "subject", request["subject"])


def undo_check_in(database: sqlite3.Connection, request: Request) -> Request:
    """Undo an arrival."""
    id = _event(database, request)["id"]
    if _row(database, "select id from arrivals where event = ? and id = ?", id, request["check_in"]) is None:
        raise Refused("unknown_check_in", status=NOT_FOUND)
    database.execute("update arrivals set counts = 0 where event = ? and id = ?", (id, request["check_in"]))
    return attendance(database, request)


if __name__ == "__main__":
    main(
        {
            "publish": publish,
            "close": close,
            "invite": invite,
            "uninvite": uninvite,
            "issue_ticket": issue_ticket,
            "cancel_ticket": cancel_ticket,
            "check_in": check_in,
            "undo_check_in": undo_check_in,
            "attendance": attendance,
        },
        SCHEMA,
    )
