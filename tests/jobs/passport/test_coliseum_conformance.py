"""Conformance of Coliseum: the local implementation and the HTTP counterpart behave alike."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.passport.services.coliseum import coliseum
from jobs.passport.services.coliseum.contract import (
    Batch,
    Event,
    Ingested,
    MetricsOf,
    Minute,
    OpenCampaign,
    SegmentMove,
    SegmentMoves,
    Total,
    TotalsOf,
)
from models.core.database import new_id

COUNTERPART = "coliseum"
MINUTE = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("implementation")


@pytest.fixture
def brand_id(make_brand):
    return make_brand()["id"]


def event(campaign, kind="scan", at=MINUTE, reverses=None):
    return Event(new_id(), campaign, kind, at, reverses)


def count(*events, key=None):
    return coliseum().ingest(Batch(list(events)), key=key or str(new_id()))


def metrics(campaign, since=MINUTE):
    return coliseum().metrics(MetricsOf(campaign, since), key=str(new_id()))


def test_campaign_is_opened_once(as_job, brand_id):
    campaign = new_id()
    with as_job(brand_id=brand_id):
        first = coliseum().open(OpenCampaign(campaign), key="a")
        again = coliseum().open(OpenCampaign(campaign), key="b")

    assert first == again
    assert first.campaign == campaign


def test_event_is_counted_once_whatever_the_key_and_batch(as_job, brand_id):
    campaign = new_id()
    scan, check_in = event(campaign), event(campaign, "check_in")
    with as_job(brand_id=brand_id):
        answers = [count(scan, key="a"), count(scan, key="a"), count(scan, check_in, scan), count(check_in)]
        found = metrics(campaign)

    assert answers == [Ingested(1, 0), Ingested(1, 0), Ingested(1, 2), Ingested(0, 1)]
    assert found.totals == [Total("check_in", 1), Total("scan", 1)]


def test_reversal_is_subtracted_also_if_it_arrives_first(as_job, brand_id):
    campaign = new_id()
    scan, other = event(campaign), event(campaign, at=MINUTE + timedelta(seconds=59))
    reversal = event(campaign, at=scan.occurred_at, reverses=scan.id)
    with as_job(brand_id=brand_id):
        count(reversal)
        count(scan, other)
        found = metrics(campaign)

    assert (found.totals, found.minutes) == ([Total("scan", 1)], [Minute(MINUTE, "scan", 1)])


def test_metrics_have_minutes_since_the_start_and_all_totals(as_job, brand_id):
    campaign, late = new_id(), MINUTE + timedelta(minutes=2)
    days_ago = datetime.now(UTC) - timedelta(days=2)
    with as_job(brand_id=brand_id):
        count(event(campaign), event(campaign, at=late), event(campaign, at=late), event(campaign, "survey", days_ago))
        count(event(new_id()))
        since_late = metrics(campaign, late)
        since_ever = metrics(campaign, days_ago - timedelta(days=1))

    assert since_late.totals == since_ever.totals == [Total("scan", 3), Total("survey", 1)]
    assert since_late.minutes == [Minute(late, "scan", 2)]
    assert since_ever.minutes == [Minute(MINUTE, "scan", 1), Minute(late, "scan", 2)]


def test_move_of_a_segment_is_counted_once_whatever_the_key(as_job, brand_id):
    segment, other = new_id(), new_id()
    first, second = (SegmentMove(new_id(), segment, MINUTE, entered, left) for entered, left in ((5, 0), (1, 2)))
    elsewhere = SegmentMove(new_id(), other, MINUTE, 7, 0)
    with as_job(brand_id=brand_id):
        answers = [
            coliseum().ingest_moves(SegmentMoves(moves), key=key)
            for key, moves in (("a", [first]), ("a", [first]), ("b", [second, first, elsewhere]), ("c", [second]))
        ]
        found = [coliseum().segment_totals(TotalsOf(one), key=str(new_id())) for one in (segment, other, new_id())]

    assert answers == [Ingested(1, 0), Ingested(1, 0), Ingested(2, 1), Ingested(0, 1)]
    assert [(one.entered, one.left) for one in found] == [(6, 2), (7, 0), (0, 0)]
