"""Engagement events: recorded once, reversed, recorded again, and folded into the engagements."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audiences import engagement_events, engagements
from models.core import context
from models.core.database import new_id, transaction
from models.core.errors import Forbidden, NotFound
from tests.fixtures.campaigns import NOON
from tests.support.blocked import until_blocked

COLUMNS = ("scans", "surveys", "rewards_granted", "rewards_claimed", "rewards_redeemed", "check_ins", "conversions")
COLUMN_OF = {
    "scan": "scans",
    "survey": "surveys",
    "reward_granted": "rewards_granted",
    "reward_claimed": "rewards_claimed",
    "reward_redeemed": "rewards_redeemed",
    "check_in": "check_ins",
    "conversion": "conversions",
}
"""Kind of an event → column of the engagements that counts it."""


@dataclass(frozen=True)
class Source:
    """A source of events with its fixed properties."""

    kind: str
    person: int
    at: datetime
    id: UUID


def source(kind="scan", person=0, at=NOON):
    return Source(kind, person, at, new_id())


@pytest.fixture
def people(fan):
    return [fan().user_id for _ in range(3)]


@pytest.fixture
def record(people):
    """`record(campaign, source, reverses=False)`: in a transaction of its own; whether a row was added."""

    def run(campaign, one, reverses=False):
        with transaction(context.for_brand_job(campaign.brand_id)):
            return engagement_events.record(
                one.kind,
                brand_id=campaign.brand_id,
                campaign_id=campaign.id,
                user_id=people[one.person],
                source_id=one.id,
                occurred_at=one.at,
                reverses=reverses,
            )

    return run


@pytest.fixture
def folded(query, people):
    """`folded()`: person → counts by column that are not 0, first and last occurrence."""

    def read():
        found = query(f"select user_id, first_at, last_at, {', '.join(COLUMNS)} from engagements")
        return {
            people.index(user_id): (
                {name: n for name, n in zip(COLUMNS, counts, strict=True) if n},
                first.astimezone(UTC),
                last.astimezone(UTC),
            )
            for user_id, first, last, *counts in found
        }

    return read


def fold(campaign):
    with transaction(context.for_brand_job(campaign.brand_id)):
        return engagements.fold(campaign.id)


def test_every_kind_of_event_has_a_column_of_the_engagements(campaign, record, folded):
    summer = campaign()
    for kind in COLUMN_OF:
        record(summer, source(kind))

    fold(summer)

    assert folded() == {0: (dict.fromkeys(COLUMNS, 1), NOON, NOON)}


def test_event_is_recorded_once_reversed_once_and_again(campaign, record, query):
    summer, scan = campaign(), source()

    added = [record(summer, scan, reverses) for reverses in (True, False, False, True, True, False, False)]

    assert added == [False, True, False, True, False, True, False]
    rows = query("select revision, id, reversal_of from engagement_events order by revision")
    assert [(revision, reversal_of) for revision, _, reversal_of in rows] == [(1, None), (2, rows[0][1]), (3, None)]


def test_sources_of_one_id_and_two_kinds_are_independent(campaign, record, folded):
    summer, scan = campaign(), source()
    record(summer, scan)
    record(summer, Source("check_in", 0, NOON, scan.id))
    record(summer, scan, reverses=True)

    fold(summer)

    assert folded() == {0: ({"check_ins": 1}, NOON, NOON)}


steps = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["record", "record", "reverse", "fold"])), min_size=1, max_size=25
)
drawn_sources = st.lists(
    st.builds(
        Source,
        kind=st.sampled_from(sorted(COLUMN_OF)),
        person=st.integers(0, 2),
        at=st.sampled_from([NOON, NOON - timedelta(days=40), NOON + timedelta(minutes=1), NOON - timedelta(days=2000)]),
        id=st.uuids(version=4),
    ),
    min_size=6,
    max_size=6,
    unique_by=lambda one: one.id,
)


@settings(max_examples=20)
@given(drawn_sources, steps)
def test_folds_in_any_order_equal_a_recomputation(campaign, record, folded, query, monkeypatch, sources, steps):
    monkeypatch.setattr(engagements, "FOLD_BATCH", 2)
    summer, in_force = campaign(launched=False), set()
    for index, step in steps:
        if step == "fold":
            fold(summer)
        else:
            (in_force.add if step == "record" else in_force.discard)(sources[index])
            record(summer, sources[index], reverses=step == "reverse")
    while fold(summer):
        pass

    computed = {}
    for person in {one.person for one in in_force}:
        own = [one for one in in_force if one.person == person]
        times = [one.at for one in own]
        computed[person] = (dict(Counter(COLUMN_OF[one.kind] for one in own)), min(times), max(times))
    assert folded() == computed
    query("delete from engagements; delete from engagement_events; delete from app.engagement_outbox")


def test_fold_takes_only_events_of_its_campaign(campaign, record, folded, query):
    summer, winter = campaign("Summer"), campaign("Winter")
    record(summer, source(person=0))
    record(winter, source(person=1))

    fold(summer)

    assert set(folded()) == {0}
    assert query("select folded, user_id is null from app.engagement_outbox order by folded") == [
        (False, False),
        (True, True),
    ]


def test_burst_of_events_is_folded_by_one_waiting_job(campaign, record, query):
    summer = campaign()
    for person in range(3):
        record(summer, source(person=person))

    keys = query("select count(*), count(distinct coalesce_key) from app.jobs where actor = 'engagements.fold'")

    assert keys == [(3, 1)]


def test_event_of_another_brand_is_refused(campaign, make_brand, people, manager):
    summer = campaign()
    event = {"campaign_id": summer.id, "user_id": people[0], "source_id": new_id(), "occurred_at": NOON}
    other = make_brand("Other")["id"]

    with transaction(context.for_brand_job(other)), pytest.raises(Forbidden):
        engagement_events.record("scan", brand_id=summer.brand_id, **event)
    with transaction(context.for_brand_job(other)), pytest.raises(NotFound):
        engagement_events.record("scan", brand_id=other, **event)
    with manager.acting(), pytest.raises(Forbidden):
        engagement_events.record("scan", brand_id=summer.brand_id, **event)


PARTITION_OF = "select tableoid::regclass::text from engagement_events where source_id = %s"


def rotate():
    with transaction(context.for_system_job()):
        return engagements.rotate_events()


def test_events_of_any_month_are_stored_and_move_to_their_partition(campaign, record, query):
    summer, ahead = campaign(), source(at=datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC))
    old = source(at=datetime(1999, 1, 1, tzinfo=UTC))
    record(summer, ahead)
    record(summer, old)
    before = [query(PARTITION_OF, one.id)[0][0] for one in (ahead, old)]

    query("select app.create_engagement_month('2031-05-01')")
    try:
        after = query(PARTITION_OF, ahead.id)[0][0]
        again = record(summer, ahead)
    finally:
        query("drop table app_partitions.engagement_events_203105")

    assert before == ["app_partitions.engagement_events_default"] * 2
    assert (after, again) == ("app_partitions.engagement_events_203105", False)


def test_rotation_drops_old_months_and_recomputes_their_engagements(campaign, record, query, folded):
    summer, old = campaign(), NOON - timedelta(days=1500)
    query("select app.create_engagement_month(%s::date)", f"{old:%Y-%m}-01")
    query(f"alter table app_partitions.engagement_events_{old:%Y%m} owner to app_definer")
    for one in (source(person=0, at=old), source(person=0), source(person=1, at=old), source(person=2)):
        record(summer, one)
    fold(summer)

    dropped = rotate()

    assert dropped == [f"engagement_events_{old:%Y%m}"]
    assert folded() == {0: ({"scans": 1}, NOON, NOON), 2: ({"scans": 1}, NOON, NOON)}
    assert query("select min(occurred_at) from app.engagement_outbox") == [(NOON,)]


def test_rotation_waits_for_a_fold_of_the_campaign(campaign, record, folded, query, superuser):
    summer, old = campaign(), source(at=NOON - timedelta(days=1500))
    record(summer, old)
    fold(summer)
    record(summer, source())

    with ThreadPoolExecutor(1) as elsewhere:
        with transaction(context.for_brand_job(summer.brand_id)):
            engagements.fold(summer.id)
            rotation = elsewhere.submit(rotate)
            until_blocked(superuser)
            with superuser.cursor() as cursor:
                cursor.execute("select objid is not null from pg_locks where locktype = 'advisory' and not granted")
                waits = cursor.fetchall()
        rotation.result(60)

    assert waits == [(True,)]
    assert folded() == {0: ({"scans": 1}, NOON, NOON)}


def test_events_are_listed_by_time_kind_and_page(campaign, record, manager):
    summer = campaign()
    sources = [source(at=NOON + timedelta(minutes=n)) for n in range(4)]
    for one in (*sources, source("check_in"), source(at=NOON + timedelta(days=9))):
        record(summer, one)

    def found(**filters):
        with manager.acting():
            return engagement_events.find(campaign_id=summer.id, **{"limit": 9} | filters)

    window = {"kind": "scan", "start": NOON, "end": NOON + timedelta(minutes=3)}
    whole = found(**window)
    first = found(**window | {"limit": 2})
    rest = found(**window, after=(first[-1].occurred_at, first[-1].id))

    assert [event.source_id for event in whole] == [one.id for one in reversed(sources[:3])]
    assert [event.id for event in first + rest] == [event.id for event in whole]
    assert len(found()) == 6
