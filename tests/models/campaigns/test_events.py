"""Events: the limit of guest lists, earlier check-ins, and the deletion of what an event leaves behind."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta

import pytest

from jobs.passport.services.concierto.contract import SERVICE
from models.campaigns import check_ins, events, guests, tickets
from models.campaigns.guests import GuestListFull, Invitation
from models.core import context
from models.core.database import new_id, now, transaction
from models.core.enumerations import values_of
from models.passport import concierto
from models.passport.concierto import Arrival, Guest, Plan
from tests.support.blocked import until_blocked

TABLES = (
    "check_ins",
    "tickets",
    "guests",
    "concierto_check_ins",
    "concierto_tickets",
    "concierto_guests",
    "concierto_events",
)


@pytest.fixture
def event(campaign):
    """`event()`: an active event."""
    return lambda: campaign("Night", "Event", ends_at=(now() + timedelta(hours=1)).isoformat())


@pytest.fixture
def arrive(manager, query):
    """`arrive(event, **columns)`: an accepted check-in, or the one of these columns."""

    def add(night, **columns):
        with manager.acting():
            made, _ = check_ins.request(night.id, ticket=None, guest_id=None, people=1, gate=None, scanned_at=None)
        values = {"state": "accepted", "gate": "North"} | columns
        assignments = ", ".join(f"{name} = %s" for name in values)
        query(f"update check_ins set {assignments} where id = %s", *values.values(), made.id)
        return made.id

    return add


def test_every_refusal_of_concierto_is_a_reason_in_the_api():
    decided = (SERVICE.by_name["check_in"], SERVICE.by_name["issue_ticket"])

    assert {code for operation in decided for code in operation.refusals} == set(values_of(events.Refusal))


def test_concurrent_guests_do_not_exceed_the_limit(event, manager, superuser, monkeypatch, query):
    monkeypatch.setattr(guests, "MAX_GUESTS", 3)
    night, pair = event(), [Invitation("Ana", 1, None, None)] * 2

    def add():
        with manager.acting():
            guests.add(night.id, pair)

    with ThreadPoolExecutor(1) as elsewhere:
        with manager.acting():
            guests.add(night.id, pair)
            second = elsewhere.submit(add)
            until_blocked(superuser)
        with pytest.raises(GuestListFull):
            second.result(60)

    assert query("select count(*) from guests") == [(2,)]


def test_earlier_check_in_is_of_the_same_ticket_guest_or_person(event, arrive, manager, query, fan):
    night, person = event(), fan().user_id
    with manager.acting():
        (ana, eva), _ = guests.add(night.id, [Invitation("Ana", 1, None, None), Invitation("Eva", 1, None, None)])
    mine, other = new_id(), new_id()
    for ticket in (mine, other):
        query(
            "insert into tickets (id, brand_id, campaign_id, user_id, key_version, state, job_id)"
            " values (%s, %s, %s, %s, 1, %s, gen_random_uuid())",
            *(ticket, night.brand_id, night.id, person, "issued" if ticket == mine else "cancelled"),
        )
    arrive(night, ticket_id=mine, user_id=person, gate="A")
    arrive(night, guest_id=ana.id, gate="B")
    arrive(night, user_id=person, gate="C")
    arrive(night, gate="D")
    refused = {"state": "refused", "refusal": "already_checked_in"}

    def earlier(**columns):
        id = arrive(night, **refused | columns)
        with manager.acting():
            return check_ins.refusal_of(check_ins.get(night.id, id)).values.gate

    assert earlier(ticket_id=mine, user_id=person) == "A"
    assert earlier(ticket_id=other, user_id=person) is None
    assert earlier(guest_id=ana.id) == "B"
    assert earlier(guest_id=eva.id) is None
    assert earlier(user_id=person) == "C"
    assert earlier() is None


def test_cancelled_ticket_stays_cancelled_after_a_late_decision(event, query, fan):
    night, ticket = event(), new_id()
    query(
        "insert into tickets (id, brand_id, campaign_id, user_id, key_version, state, job_id)"
        " values (%s, %s, %s, %s, 1, 'cancelled', gen_random_uuid())",
        *(ticket, night.brand_id, night.id, fan().user_id),
    )

    with transaction(context.for_brand_job(night.brand_id)):
        tickets.settle(ticket, "issued")

    assert query("select state from tickets") == [("cancelled",)]


def test_expiry_deletes_what_old_events_leave_and_nothing_else(event, arrive, manager, query, fan):
    old, recent = event(), event()
    for night, days in ((old, 366), (recent, 364)):
        with manager.acting():
            (ana,), _ = guests.add(night.id, [Invitation("Ana", 1, "ana@guests.example", None)])
        ticket = new_id()
        query(
            "insert into tickets (id, brand_id, campaign_id, user_id, key_version, state, job_id)"
            " values (%s, %s, %s, %s, 1, 'issued', gen_random_uuid())",
            *(ticket, night.brand_id, night.id, fan().user_id),
        )
        arrive(night, guest_id=ana.id)
        arrive(night, ticket_id=ticket)
        with transaction(context.for_brand_job(night.brand_id)):
            plan = Plan("Night", None, "tickets", None, None, now() + timedelta(hours=1))
            concierto.publish(night.id, 1, plan)
            concierto.invite(night.id, [Guest(ana.id, 1)])
            concierto.issue_ticket(night.id, ticket, new_id())
            concierto.check_in(night.id, Arrival(new_id(), ticket, None, None, 1, now(), None))
        over = now().astimezone(UTC) - timedelta(days=days)
        query("update campaigns set status = 'Completed', completed_at = %s where id = %s", over, night.id)
        query("update concierto_events set ends_at = %s where id = %s", over, night.id)

    with transaction(context.for_system_job()):
        events.expire()
        concierto.expire()

    left = {table: query(f"select distinct {_EVENT_OF.get(table, 'event_id')} from {table}") for table in TABLES}
    assert left == {table: [(recent.id,)] for table in TABLES}


_EVENT_OF = {"check_ins": "campaign_id", "tickets": "campaign_id", "guests": "campaign_id", "concierto_events": "id"}
"""The column that names the event, where it is not `event_id`."""
