"""Activity of contacts: folded from the events in force, by day of the brand's time zone."""

from datetime import UTC, datetime, timedelta

import pytest

from models.audiences import changes, engagement_events, engagements, membership
from models.core import context
from models.core.database import new_id, transaction
from models.tenants import brands

LATE = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
"""A time that is on the next day in Madrid."""


@pytest.fixture
def record():
    """`record(campaign, kind="scan", …)`: record an event of a new source, or of `source_id`; returns the source."""

    def run(campaign, kind="scan", *, source_id=None, at=LATE, **options):
        source_id = source_id or new_id()
        with transaction(context.for_brand_job(campaign.brand_id)):
            engagement_events.record(
                kind,
                brand_id=campaign.brand_id,
                campaign_id=campaign.id,
                source_id=source_id,
                occurred_at=at,
                **{"user_id": None} | options,
            )
        return source_id

    return run


@pytest.fixture
def activity(query):
    """`activity()`: contact → sorted (event, campaign, day, n)."""

    def read():
        found = query("select contact_id, event, campaign_id, day::text, n from contact_activity order by 1, 2, 3, 4")
        return {contact: [tuple(rest) for known, *rest in found if known == contact] for contact, *_ in found}

    return read


@pytest.fixture
def add_contact(superuser, query):
    """`add_contact(brand_id, user_id=None)`: its id."""

    def run(brand_id, user_id=None):
        return query("insert into contacts (brand_id, user_id) values (%s, %s) returning id", brand_id, user_id)[0][0]

    return run


def apply(brand_id):
    with transaction(context.for_brand_job(brand_id)):
        return membership.apply(brand_id)


def marks(query):
    return query("select contact_id, user_id, kinds from app.segment_changes order by id")


def test_activity_counts_events_in_force_by_local_day(campaign, record, activity, add_contact, query, fan):
    summer, ana = campaign(), fan().user_id
    query("""update brands set settings = '{"timezone": "Europe/Madrid"}' where id = %s""", summer.brand_id)
    contact, other = add_contact(summer.brand_id, ana), add_contact(summer.brand_id)
    record(summer, user_id=ana)
    record(summer, user_id=ana)
    twice = record(summer, user_id=ana, at=LATE - timedelta(days=1))
    for reverses in (True, False):
        record(summer, user_id=ana, at=LATE - timedelta(days=1), source_id=twice, reverses=reverses)
    reversed_one = record(summer, "check_in", user_id=ana)
    apply(summer.brand_id)
    record(summer, "check_in", user_id=ana, source_id=reversed_one, reverses=True)
    record(summer, "conversion", contact_id=other)
    apply(summer.brand_id)

    assert activity() == {
        contact: [("scan", summer.id, "2026-11-20", 1), ("scan", summer.id, "2026-11-21", 2)],
        other: [("conversion", summer.id, "2026-11-21", 1)],
    }
    assert marks(query) == []


def test_activity_of_merged_contact_moves_there_and_back(campaign, record, activity, add_contact, query, fan):
    summer, ana, eva = campaign(), fan().user_id, fan().user_id
    kept, merged = add_contact(summer.brand_id, ana), add_contact(summer.brand_id, eva)
    record(summer, user_id=ana)
    record(summer, user_id=eva)
    apply(summer.brand_id)

    query("update contacts set merged_into = %s where id = %s", kept, merged)
    apply(summer.brand_id)
    together = activity()
    query("update contacts set merged_into = null where id = %s", merged)
    apply(summer.brand_id)

    assert together == {kept: [("scan", summer.id, "2026-11-20", 2)]}
    assert activity() == {one: [("scan", summer.id, "2026-11-20", 1)] for one in (kept, merged)}


def test_events_before_the_contact_exists_are_folded_with_it(campaign, record, activity, add_contact, fan):
    summer, ana = campaign(), fan().user_id
    record(summer, user_id=ana)
    apply(summer.brand_id)

    contact = add_contact(summer.brand_id, ana)
    apply(summer.brand_id)

    assert activity() == {contact: [("scan", summer.id, "2026-11-20", 1)]}


def test_new_zone_of_brand_moves_activity_to_its_days(
    campaign, record, activity, add_contact, admin, drain, fan, query
):
    summer, ana = campaign(), fan().user_id
    contact = add_contact(summer.brand_id, ana)
    record(summer, user_id=ana)
    drain()

    with admin.acting():
        brand = brands.get_for_update(summer.brand_id)
        brands.change(brand, brand.name, {"timezone": "Europe/Madrid"}, brand.mfa_required_from)
    ran = drain()

    assert {"activity.recompute", "segments.apply"} <= set(ran)
    assert activity() == {contact: [("scan", summer.id, "2026-11-21", 1)]}
    assert marks(query) == []


def test_dropped_events_leave_the_activity(campaign, record, activity, add_contact, drain, fan, query):
    summer, ana = campaign(), fan().user_id
    contact = add_contact(summer.brand_id, ana)
    old = LATE - engagements.KEEP_EVENTS - timedelta(days=400)
    record(summer, user_id=ana, at=old)
    record(summer, user_id=ana)
    drain()
    before = activity()[contact]

    with transaction(context.for_system_job()):
        engagements.rotate_events()
    drain()

    assert [day for _, _, day, _ in before] == [old.date().isoformat(), "2026-11-20"]
    assert [day for _, _, day, _ in activity()[contact]] == ["2026-11-20"]


def test_every_writer_marks_its_contacts_with_the_kinds(campaign, record, add_contact, fan, query):
    summer, ana = campaign(), fan().user_id
    contact = add_contact(summer.brand_id, ana)
    query("delete from app.segment_changes")
    marked = []

    for statement in (
        "update contacts set properties = properties || '{\"vip\": true}' where id = %s",
        "update contacts set tags = '{gold}' where id = %s",
        "update contacts set lat = 40.4, lon = -3.7 where id = %s",
        "update contacts set last_seen_at = now() where id = %s",
        "update contacts set updated_at = now() where id = %s",
        "update contacts set user_id = null where id = %s",
    ):
        query(statement, contact)
        marked.append(
            [
                sorted(kinds)
                for _, _, kinds in query("delete from app.segment_changes returning contact_id, user_id, kinds")
            ]
        )

    assert marked == [[["properties"]], [["tags"]], [["geo"]], [["profile"]], [], [["contact", "profile"]]]


def test_traits_consents_and_events_mark_the_person(campaign, record, fan, publish_notice, query):
    summer, ana = campaign(), fan().user_id
    query(
        "insert into fan_traits (brand_id, user_id, name, value, observed_at, usable_until)"
        " values (%s, %s, 'language', 'es', now(), now())",
        *(summer.brand_id, ana),
    )
    query("delete from fan_traits")
    record(summer, user_id=ana)

    assert marks(query) == [(None, ana, ["traits"]), (None, ana, ["traits"]), (None, ana, ["event:scan"])]


def test_swept_changes_without_job_get_one(campaign, add_contact, drain, query):
    summer = campaign()
    add_contact(summer.brand_id)
    query("delete from app.jobs")
    query("update app.segment_changes set marked_at = marked_at - %s", changes.STALLED)

    with transaction(context.for_system_job()):
        changes.sweep()

    assert drain() == ["segments.apply"]
    assert marks(query) == []
