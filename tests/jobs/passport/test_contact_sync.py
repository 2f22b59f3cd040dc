"""Synchronisation of contacts with CALS: both directions, conflicts, echoes, withdrawals and deletions."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.passport.services.cals import cals
from jobs.passport.services.cals.contract import ChangesSince, Contact, Contacts, Field
from models.core import context
from models.core.database import new_id, transaction
from models.jobs.ledger import enqueue
from models.passport import contact_merge
from models.passport.contact_merge import Copy, merge

COUNTERPART = "cals"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
times = st.sampled_from([NOON + timedelta(minutes=n) for n in range(3)])
fields = st.builds(
    contact_merge.Field,
    value=st.sampled_from([None, True, 1, "a", "b"]),
    at=times,
    source=st.sampled_from(["cals", "companon"]),
)
copies = st.builds(
    Copy,
    fields=st.dictionaries(st.sampled_from(["city", "vip"]), fields),
    opted_out_at=st.none() | times,
    deleted_at=st.none() | st.none() | times,
)


@settings(max_examples=60)
@given(st.lists(copies, min_size=1, max_size=4))
def test_merge_gives_one_result_in_any_order_and_repetition(given_copies):
    def merged(some):
        result = Copy()
        for one in some:
            result = merge(result, one)
        return result

    results = [merged(order) for order in itertools.permutations(given_copies)]
    results += [merged([*given_copies, *given_copies]), merge(merged(given_copies), merged(given_copies))]

    assert all(result == results[0] for result in results)


@pytest.fixture
def brand_id(make_brand):
    return make_brand()["id"]


@pytest.fixture
def put(query, brand_id):
    """`put(contact_id, at=NOON, **properties)`: a contact of the brand, changed at a time."""

    def run(contact_id, at=NOON, tags=(), city=None, **properties):
        query(
            "insert into contacts (id, brand_id, city, tags, properties, updated_at) values (%s, %s, %s, %s, %s, %s)"
            " on conflict (id) do update set city = excluded.city, tags = excluded.tags,"
            " properties = excluded.properties, updated_at = excluded.updated_at",
            *(contact_id, brand_id, city, list(tags), json.dumps(properties), at),
        )

    return run


@pytest.fixture
def stored(query):
    """`stored(contact_id)`: city, tags and properties of a contact."""
    return lambda contact_id: query("select city, tags, properties from contacts where id = %s", contact_id)[0]


@pytest.fixture
def in_cals(as_job, brand_id):
    """`in_cals(*contacts)`: push contacts as another system would, and return all contacts of CALS by id."""

    def run(*contacts):
        with as_job(brand_id=brand_id):
            if contacts:
                cals().push_contacts(Contacts(brand_id, list(contacts)), key=str(new_id()))
            found = cals().pull_contacts(ChangesSince(brand_id, None), key=str(new_id()))
        return {one.contact: one for one in found.contacts}

    return run


@pytest.fixture
def sync(drain, brand_id):
    """`sync(*actors)`: run these jobs of the brand; the names of all jobs that ran."""

    def run(*actors):
        for name in actors or ("cals.push", "cals.pull"):
            with transaction(context.for_brand_job(brand_id)):
                enqueue(name)
        return drain()

    return run


pytestmark = pytest.mark.usefixtures("over_http")


def changed_in_cals(contact, at=None, **values):
    when = at or datetime.now(UTC)
    return Contact(contact, [Field(name, value, when, "cals") for name, value in values.items()])


def test_own_changes_are_sent_once_and_only_those(put, in_cals, sync, over_http):
    contact = new_id()
    put(contact, city="Madrid", tags=["a"], vip=True, likes=["tea"])
    sync("cals.push")
    sync("cals.push")
    put(contact, at=NOON + timedelta(minutes=1), city="Bilbao", vip=True, likes=["tea", "jazz"])
    sync("cals.push")

    assert in_cals()[contact].fields == [
        Field("city", "Bilbao", NOON + timedelta(minutes=1), "companon"),
        Field("properties.vip", True, NOON, "companon"),
        Field("tags.a", None, NOON + timedelta(minutes=1), "companon"),
    ]
    assert over_http.counts()["calls"]["push_contacts"] == 2


def test_change_of_cals_is_applied_and_not_sent_back(put, in_cals, sync, stored, over_http):
    contact, created = new_id(), new_id()
    put(contact, city="Madrid", tags=["a", "b"], likes=["tea"])
    sync("cals.push")
    changes = {"city": "Sevilla", "tags.a": None, "tags.c": True, "properties.vip": True}
    in_cals(changed_in_cals(contact, **changes), changed_in_cals(created, city="Vigo"))
    pushed = over_http.counts()["calls"]["push_contacts"]
    sync()
    sync()

    assert stored(contact) == ("Sevilla", ["b", "c"], {"likes": ["tea"], "vip": True})
    assert stored(created) == ("Vigo", [], {})
    assert over_http.counts()["calls"]["push_contacts"] == pushed


def test_value_of_cals_that_no_contact_can_hold_is_left_out(put, in_cals, sync, query, brand_id):
    taken, other = new_id(), new_id()
    query("insert into contacts (id, brand_id, email) values (%s, %s, 'ana@fan.example')", taken, brand_id)
    query(
        "insert into contacts (id, brand_id, email, phone) values (%s, %s, 'eva@fan.example', '+34600000000')",
        other,
        brand_id,
    )
    query("insert into contact_properties (brand_id, key, type, label) values (%s, 'vip', 'boolean', 'VIP')", brand_id)
    sync()
    wrong = {"email": "ana@fan.example", "phone": "12", "properties.vip": "very", "properties.Ño": 1, "shoe": 42}
    in_cals(changed_in_cals(other, city="Vigo", **wrong))
    sync()
    sync()

    found = query("select email, phone, city, properties from contacts where id = %s", other)
    assert found == [("eva@fan.example", "+34600000000", "Vigo", {})]


def test_later_own_change_wins_over_that_of_cals(put, in_cals, sync, stored):
    contact, later = new_id(), NOON + timedelta(minutes=5)
    put(contact, city="Madrid", vip=True)
    sync("cals.push")
    in_cals(changed_in_cals(contact, at=NOON + timedelta(minutes=1), city="Sevilla", **{"properties.vip": False}))
    put(contact, at=later, city="Bilbao", vip=True)
    sync("cals.pull")
    sync("cals.push")

    assert stored(contact) == ("Bilbao", [], {"vip": False})
    fields = [(one.name, one.value) for one in in_cals()[contact].fields]
    assert fields == [("city", "Bilbao"), ("properties.vip", False)]


def test_clock_of_cals_that_is_ahead_does_not_win_for_ever(put, in_cals, sync, query):
    contact = new_id()
    in_cals(changed_in_cals(contact, at=datetime.now(UTC) + timedelta(days=30), city="Sevilla"))
    sync("cals.pull")
    put(contact, at=datetime.now(UTC) + timedelta(seconds=1), city="Bilbao")
    sync("cals.pull")

    assert query("select fields -> 'city' ->> 'value' from contact_sync") == [("Bilbao",)]


def test_withdrawal_survives_every_later_synchronisation(put, in_cals, sync, query):
    contact = new_id()
    put(contact, city="Madrid")
    query("update contacts set opted_out_at = %s, updated_at = now()", NOON)
    there = new_id()
    in_cals(Contact(there, [], opted_out_at=NOON))
    sync()
    in_cals(changed_in_cals(contact, city="Sevilla"), changed_in_cals(there, city="Lugo"))
    sync()

    assert query("select city, opted_out_at from contacts order by city") == [("Lugo", NOON), ("Sevilla", NOON)]
    assert [in_cals()[one].opted_out_at for one in (contact, there)] == [NOON, NOON]


def test_deletions_reach_the_other_side_and_are_final(put, in_cals, sync, query):
    here, there = new_id(), new_id()
    put(here, city="Madrid")
    put(there, city="Vigo")
    sync()
    query("delete from contacts where id = %s", here)
    in_cals(Contact(there, [], deleted_at=NOON))
    sync()
    in_cals(changed_in_cals(here, city="Sevilla"), changed_in_cals(there, city="Lugo"))
    sync()

    assert (in_cals()[here].fields, in_cals()[there].fields) == ([], [])
    assert in_cals()[here].deleted_at is not None
    assert query("select count(*) from contacts") == [(0,)]


def test_interrupted_push_is_repeated_without_a_second_effect(put, in_cals, sync, over_http):
    contact = new_id()
    put(contact, city="Madrid")
    over_http.fail("drop_after")
    sync("cals.push")

    assert in_cals()[contact].fields == [Field("city", "Madrid", NOON, "companon")]
    assert (over_http.counts()["calls"]["push_contacts"], over_http.counts()["effects"]["push_contacts"]) == (2, 1)


def test_schedule_syncs_brands_with_changes(put, drain, brand_id, in_cals, make_brand):
    make_brand("Quiet")
    contact = new_id()
    put(contact, city="Madrid")
    drain()

    def scheduled():
        with transaction(context.for_system_job()):
            enqueue("cals.sync")
        return drain()

    first, second = scheduled(), scheduled()

    assert first == ["cals.sync", "cals.push"]
    assert second == ["cals.sync", "cals.pull"]
    assert contact in in_cals()
