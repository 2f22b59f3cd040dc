"""Delivery of engagement events to Coliseum: each arrives once, whatever fails on the way."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

import pytest

import jobs.audiences.actors
from jobs.passport.services.coliseum import coliseum
from jobs.passport.services.coliseum.contract import MetricsOf, TotalsOf
from models.audiences import dsl, engagement_events, engagement_outbox, segments
from models.core import context
from models.core.database import new_id, now, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.campaigns import NOON

COUNTERPART = "coliseum"


@pytest.fixture
def record(fan):
    """`record(campaign, source_id, reverses=False)`: a scan, in the caller's transaction or in one of its own."""
    person = fan().user_id

    def run(campaign, source_id=None, reverses=False):
        event = {"brand_id": campaign.brand_id, "campaign_id": campaign.id, "user_id": person, "occurred_at": NOON}
        return engagement_events.record("scan", **event, source_id=source_id or new_id(), reverses=reverses)

    return run


@contextmanager
def acting_for(campaign):
    with transaction(context.for_brand_job(campaign.brand_id)):
        yield


@pytest.fixture
def counted(as_job):
    """`counted(campaign)`: the number of scans that Coliseum counts."""

    def read(campaign):
        with as_job(brand_id=campaign.brand_id):
            found = coliseum().metrics(MetricsOf(campaign.id, NOON), key=str(new_id()))
        return sum(total.n for total in found.totals)

    return read


@pytest.fixture
def waiting(query):
    return lambda: query("select count(*) from app.engagement_outbox")[0][0]


@pytest.mark.usefixtures("implementation")
def test_every_event_and_reversal_arrives_in_batches(campaign, record, drain, counted, waiting, monkeypatch):
    monkeypatch.setattr(jobs.audiences.actors, "MAX_EVENTS", 2)
    monkeypatch.setattr(jobs.audiences.actors, "MAX_BATCHES", 2)
    summer, sources = campaign(), [new_id() for _ in range(6)]
    with acting_for(summer):
        for source in sources:
            record(summer, source)
        record(summer, sources[0], reverses=True)

    ran = drain()

    assert (counted(summer), waiting()) == (5, 0)
    assert ran.count("coliseum.deliver") == 2


def test_events_delivered_before_a_crash_are_counted_once(over_http, campaign, record, drain, counted, monkeypatch):
    summer, remove, crashes = campaign(), engagement_outbox.remove, [True]

    def record_another():
        with acting_for(summer):
            record(summer)

    def crash_once(events):
        if crashes:
            crashes.pop()
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(record_another).result(60)  # the next attempt may send another batch
            raise ConnectionError("the process dies before it removes the events")
        remove(events)

    monkeypatch.setattr(engagement_outbox, "remove", crash_once)
    with acting_for(summer):
        record(summer)
    drain()

    assert counted(summer) == 2
    assert over_http.counts()["effects"]["ingest"] == 2


def test_event_that_commits_after_later_ones_is_delivered(campaign, record, drain, counted, waiting):
    summer, is_recorded, may_commit = campaign(), Event(), Event()

    def record_slowly():
        with acting_for(summer):
            record(summer)
            is_recorded.set()
            assert may_commit.wait(60)

    with ThreadPoolExecutor(1) as elsewhere:
        slow = elsewhere.submit(record_slowly)
        assert is_recorded.wait(60)
        with acting_for(summer):
            record(summer)
        drain()
        before = (counted(summer), waiting())
        may_commit.set()
        slow.result(60)
    drain()

    assert (before, counted(summer), waiting()) == ((1, 0), 2, 0)


def test_events_wait_while_coliseum_is_down(over_http, campaign, record, drain, counted, waiting):
    summer = campaign()
    with acting_for(summer):
        record(summer)
    over_http.fail("status", status=503, times=3)
    drain()

    assert (counted(summer), waiting()) == (1, 0)
    assert over_http.counts()["calls"]["ingest"] == 4


def test_sweep_revives_events_whose_jobs_have_failed(campaign, record, drain, counted, waiting, query):
    summer = campaign()
    with acting_for(summer):
        record(summer)
    drain()
    with acting_for(summer):
        record(summer)
    query("delete from app.jobs")

    def sweep():
        with transaction(context.for_system_job()):
            enqueue("engagements.sweep")
        return drain()

    fresh = sweep()
    query("update app.engagement_outbox set recorded_at = %s", now() - timedelta(minutes=6))
    late = sweep()

    assert fresh == ["engagements.sweep"]
    assert late == ["engagements.sweep", "engagements.fold", "coliseum.deliver"]
    assert (counted(summer), waiting()) == (2, 0)


def test_sweep_compares_jobs_with_brands_not_with_events(campaign, query):
    summer = campaign()
    query(
        "insert into app.engagement_outbox (brand_id, event_id, campaign_id, kind, occurred_at, folded, recorded_at)"
        " select %s, gen_random_uuid(), %s, 'scan', now(), true, now() - interval '1 h' from generate_series(1, 100)",
        *(summer.brand_id, summer.id),
    )
    query(
        "insert into app.jobs (id, actor, brand_id) select gen_random_uuid(), 'scan.score', %s"
        " from generate_series(1, 100)",
        summer.brand_id,
    )

    ((explained,),) = query("explain (analyze, format json) " + engagement_outbox._STALLED, engagement_outbox.STALLED)

    compared = [step.get("Rows Removed by Join Filter", 0) for step in nodes(explained[0]["Plan"])]
    assert max(compared) == 100


def nodes(plan):
    """Yield all steps of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def test_deliveries_of_a_brand_send_its_own_events_only(campaign, record, drain, counted, make_brand, member, query):
    summer = campaign()
    other = campaign(by=member("Campaign Manager", brand=make_brand("Other")))
    for one in (summer, other):
        with acting_for(one):
            record(one)

    drain()

    assert (counted(summer), counted(other)) == (1, 1)
    assert query("select count(*), count(distinct brand_id) from coliseum_totals") == [(2, 2)]


@pytest.mark.usefixtures("implementation")
def test_moves_of_segments_arrive_once_with_their_numbers(manager, drain, query, as_job, monkeypatch):
    monkeypatch.setattr(jobs.audiences.actors, "MAX_EVENTS", 2)
    monkeypatch.setattr(jobs.audiences.actors, "MAX_BATCHES", 1)
    spain = dsl.load({"profile": {"field": "country", "op": "eq", "value": "ES"}})
    with manager.acting():
        made = [segments.create(name=name, definition=spain).id for name in "ABC"]
    add = "insert into contacts (brand_id, country) select %s, 'ES' from generate_series(1, 3)"
    query(add, manager.brand_id)
    drain()
    query("update contacts set country = 'PT' where id = (select min(id::text)::uuid from contacts)")

    drain()

    assert query("select count(*) from app.segment_outbox") == [(0,)]
    with as_job(brand_id=manager.brand_id):
        found = [coliseum().segment_totals(TotalsOf(one), key=str(new_id())) for one in made]
    assert [(one.entered, one.left) for one in found] == [(3, 1)] * 3


def test_sweep_delivers_moves_whose_job_has_failed(manager, drain, query):
    for age in (4, 6):
        query(
            "insert into app.segment_outbox (brand_id, event_id, segment_id, at, entered, gone, recorded_at)"
            " values (%s, %s, %s, now(), 1, 0, now() - make_interval(mins => %s))",
            *(manager.brand_id, new_id(), new_id(), age),
        )
        with transaction(context.for_system_job()):
            enqueue("engagements.sweep")
        ran = drain()
        assert ran.count("coliseum.deliver") == (age == 6)

    assert query("select count(*) from app.segment_outbox") == [(0,)]
