"""Delivery of engagement events to CALS: each activity of a contact arrives once."""

import pytest

import jobs.audiences.contact_sync
from models.audiences import engagement_events
from models.core import context
from models.core.database import new_id, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.campaigns import NOON


@pytest.fixture
def summer(campaign):
    return campaign()


@pytest.fixture
def record(summer):
    """`record(user_id, source_id, reverses=False)`: a scan of a person."""

    def run(user_id, source_id=None, reverses=False):
        source_id = source_id or new_id()
        event = {"campaign_id": summer.id, "user_id": user_id, "source_id": source_id, "occurred_at": NOON}
        with transaction(context.for_brand_job(summer.brand_id)):
            engagement_events.record("scan", brand_id=summer.brand_id, **event, reverses=reverses)
        return source_id

    return run


@pytest.fixture
def known(fan, query, summer):
    """`known(merged_into=None)`: a person with a contact, and the contact's id."""

    def make(merged_into=None):
        person, contact_id = fan().user_id, new_id()
        sql = "insert into contacts (id, brand_id, user_id, merged_into) values (%s, %s, %s, %s)"
        query(sql, contact_id, summer.brand_id, person, merged_into)
        return person, contact_id

    return make


@pytest.fixture
def push(drain):
    """Run the job of the schedule and all that follow."""

    def run():
        with transaction(context.for_system_job()):
            enqueue("cals.sync")
        drain()

    return run


@pytest.fixture
def stored(query):
    return lambda: sorted(query("select contact_id, kind from cals_activities"))


def test_each_activity_is_sent_once_with_its_contact(record, known, push, stored, query, monkeypatch):
    monkeypatch.setattr(jobs.audiences.contact_sync, "MAX_ACTIVITIES", 2)
    monkeypatch.setattr(jobs.audiences.contact_sync, "MAX_PAGES", 2)
    ana, contact = known()
    ben, _ = known(merged_into=contact)
    for person in (ana, ana, ana, ben, ben):
        record(person)

    push()
    record(ana)
    push()

    assert stored() == [(contact, "scan")] * 6
    assert query("select event_id from app.activity_outbox") == []


def test_reversed_event_is_not_sent(record, known, push, stored, query):
    ana, contact = known()
    record(ana, record(ana), reverses=True)
    record(ana)

    push()

    assert stored() == [(contact, "scan")]
    assert query("select event_id from app.activity_outbox") == []


def test_event_waits_a_day_for_the_contact(record, fan, push, stored, query, summer):
    early, late = fan().user_id, fan().user_id
    record(early)
    push()
    record(late)
    query("insert into contacts (brand_id, user_id) values (%s, %s)", summer.brand_id, early)
    push()

    assert len(stored()) == 1
    assert len(query("select event_id from app.activity_outbox")) == 1

    query("update app.activity_outbox set recorded_at = now() - interval '25 hours'")
    push()

    assert len(stored()) == 1
    assert query("select event_id from app.activity_outbox") == []
