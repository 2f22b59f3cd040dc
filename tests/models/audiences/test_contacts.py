"""Contacts: people whom a brand knows."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from models.audiences import contacts, engagement_events, merging
from models.audiences.contacts import Contact, ContactMerged
from models.core import context
from models.core.database import close_thread_connections, new_id, now, transaction
from tests.fixtures.campaigns import NOON
from tests.support.blocked import until_blocked


def upsert(campaign, user_id):
    with transaction(context.for_brand_job(campaign.brand_id)):
        contacts.upsert(user_id)


def known_to(account):
    with account.acting():
        return list(Contact.select())


def test_person_with_accepted_scans_becomes_a_contact(campaign, put_scan, fan, member):
    summer, winter, user = campaign(), campaign("Winter"), fan().user_id
    put_scan(summer, user, scan_time=NOON + timedelta(hours=2), rules=("device.shared",))
    put_scan(winter, user)
    put_scan(winter, user, scan_time=NOON + timedelta(days=1), decision="rejected", reason="cap_exhausted")

    upsert(summer, user)

    (contact,) = known_to(member())
    assert contact.user_id == user
    assert (contact.first_seen_at, contact.last_seen_at) == (NOON, NOON + timedelta(hours=2))
    assert (contact.source, contact.properties) == ("scan", {})


def test_person_without_accepted_scan_gets_no_contact(campaign, put_scan, fan, member):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user, decision="rejected", reason="geofence_outside")

    upsert(summer, user)

    assert known_to(member()) == []


def test_upsert_keeps_other_properties_and_writes_changes_only(campaign, put_scan, fan, member, superuser):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    upsert(summer, user)
    with superuser.cursor() as cursor:
        cursor.execute("""update public.contacts set properties = properties || '{"vip": true}'""")
    (before,) = known_to(member())

    upsert(summer, user)
    (same,) = known_to(member())
    put_scan(summer, user, scan_time=NOON + timedelta(hours=1))
    upsert(summer, user)
    (after,) = known_to(member())

    assert same.updated_at == before.updated_at
    assert after.updated_at > before.updated_at
    assert (after.properties, after.version) == ({"vip": True}, before.version)
    assert after.id == before.id


def test_contact_is_seen_by_scans_of_its_brand_and_person(campaign, put_scan, fan, make_brand, member):
    other = member("Brand Admin", make_brand("Other"))
    summer, theirs, user = campaign(), campaign("Theirs", by=other), fan().user_id
    put_scan(summer, user)
    put_scan(summer, fan().user_id, scan_time=NOON + timedelta(hours=1))
    put_scan(theirs, user, scan_time=NOON + timedelta(hours=2))

    upsert(summer, user)

    assert known_to(other) == []
    assert [contact.last_seen_at for contact in known_to(member())] == [NOON]


def test_concurrent_upserts_create_one_contact(campaign, put_scan, fan, member):
    summer, user = campaign(), fan().user_id
    for _ in range(3):
        put_scan(summer, user)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upsert(summer, user), range(8)))

    (contact,) = known_to(member())
    assert contact.user_id == user


def test_person_is_known_to_brands_as_member_contact_or_participant(campaign, put_scan, fan, make_brand, member, query):
    other = make_brand("Other")
    summer, colleague = campaign(), member("Creator")
    contact, participant, stranger = (fan().user_id for _ in range(3))
    put_scan(summer, contact)
    upsert(summer, contact)
    with transaction(context.for_brand_job(summer.brand_id)):
        owner = {"brand_id": summer.brand_id, "campaign_id": summer.id, "user_id": participant}
        engagement_events.record("check_in", **owner, source_id=new_id(), occurred_at=now())
    people = (colleague.user_id, contact, participant, stranger)

    known = {
        brand_id: [query("select app.is_known_to(%s, %s)", brand_id, user)[0][0] for user in people]
        for brand_id in (summer.brand_id, other["id"])
    }

    assert known == {summer.brand_id: [True, True, True, False], other["id"]: [False] * 4}


@pytest.mark.parametrize("second", [(1, 0), (1, 2), (2, 1)])
def test_concurrent_merges_neither_deadlock_nor_form_a_cycle(manager, query, superuser, second):
    add = "insert into contacts (brand_id, name) select %s, n::text from generate_series(0, 2) n returning id"
    made = [one for (one,) in query(add, manager.brand_id)]

    def merge_later():
        try:
            with manager.acting():
                return merging.merge(*(made[one] for one in second))
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as pool:
        with manager.acting():
            merging.merge(made[0], made[1])
            later = pool.submit(merge_later)
            until_blocked(superuser)
        error = later.exception()

    assert isinstance(error, ContactMerged)
    assert query("select id, merged_into from contacts where merged_into is not null") == [(made[1], made[0])]
