"""Conformance of CALS: the local implementation and the HTTP counterpart behave alike."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.passport.services.cals import cals
from jobs.passport.services.cals.contract import (
    Activities,
    Activity,
    Added,
    ChangesSince,
    Contact,
    Contacts,
    Field,
    Stored,
)
from models.core.database import new_id

COUNTERPART = "cals"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)

pytestmark = pytest.mark.usefixtures("implementation")


@pytest.fixture
def brand_id(make_brand):
    return make_brand()["id"]


@pytest.fixture
def exchange(as_job, brand_id):
    """`exchange(*contacts)`: push contacts one by one, then pull all; the answers and the pulled contacts."""

    def run(*contacts):
        with as_job(brand_id=brand_id):
            answers = [cals().push_contacts(Contacts(brand_id, [one]), key=str(new_id())) for one in contacts]
            pulled = cals().pull_contacts(ChangesSince(brand_id, None), key=str(new_id()))
        return answers, pulled.contacts

    return run


def field(name, value, at=NOON, source="companon"):
    return Field(name, value, at, source)


def test_latest_version_of_each_field_wins_in_any_order(exchange):
    contact = new_id()
    copies = [
        Contact(contact, [field("city", "Madrid"), field("vip", True, LATER)]),
        Contact(contact, [field("city", "Bilbao", LATER, "cals"), field("vip", False, source="cals")]),
    ]

    _, forwards = exchange(*copies)
    answers, again = exchange(*reversed(copies))

    winners = [field("city", "Bilbao", LATER, "cals"), field("vip", True, LATER)]
    assert forwards == again == [Contact(contact, winners)]
    assert answers == [Stored(0), Stored(0)]


def test_change_of_the_same_moment_is_that_of_companon(exchange):
    contact = new_id()

    _, found = exchange(Contact(contact, [field("n", 1)]), Contact(contact, [field("n", 2, source="cals")]))

    assert found == [Contact(contact, [field("n", 1)])]


def test_withdrawal_stays_and_a_deletion_is_final(exchange):
    contact, gone = new_id(), new_id()

    _, found = exchange(
        Contact(contact, [field("n", 1)], opted_out_at=LATER),
        Contact(contact, [field("n", 2, LATER)]),
        Contact(contact, [], opted_out_at=NOON),
        Contact(gone, [field("n", 1)]),
        Contact(gone, [], deleted_at=NOON),
        Contact(gone, [field("n", 2, LATER)]),
    )

    assert found == [
        Contact(contact, [field("n", 2, LATER)], opted_out_at=NOON),
        Contact(gone, [], deleted_at=NOON),
    ]


def test_changes_are_pulled_in_pages_from_the_cursor(as_job, brand_id):
    contacts = [Contact(new_id(), [field("n", n)]) for n in range(3)]
    with as_job(brand_id=brand_id):
        cals().push_contacts(Contacts(brand_id, contacts), key="a")
        first = cals().pull_contacts(ChangesSince(brand_id, None, 2), key="b")
        rest = cals().pull_contacts(ChangesSince(brand_id, first.cursor, 2), key="c")
        none = cals().pull_contacts(ChangesSince(brand_id, rest.cursor, 2), key="d")
        changed = Contact(contacts[0].contact, [field("n", 9, LATER)])
        cals().push_contacts(Contacts(brand_id, [changed]), key="e")
        last = cals().pull_contacts(ChangesSince(brand_id, rest.cursor, 2), key="f")

    pulled = sorted((*first.contacts, *rest.contacts), key=lambda one: one.contact)
    assert pulled == sorted(contacts, key=lambda one: one.contact)
    assert (first.more, rest.more, none.contacts, none.cursor) == (True, False, [], rest.cursor)
    assert last.contacts == [changed]


def test_activity_is_stored_once(as_job, brand_id):
    scan, other = (Activity(new_id(), new_id(), "scan", NOON) for _ in range(2))
    with as_job(brand_id=brand_id):
        answers = [
            cals().push_activities(Activities(brand_id, activities), key=key)
            for activities, key in (([scan], "a"), ([scan], "a"), ([scan, other], "b"))
        ]

    assert answers == [Added(1, 0), Added(1, 0), Added(1, 1)]
