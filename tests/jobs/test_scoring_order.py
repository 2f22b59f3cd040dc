"""Test that scores do not depend on the order in which scans arrive and are scored."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.scans import score_scan
from models.core import context
from models.core.database import now, transaction
from models.scans import fraud, scoring
from tests.fixtures.scans import MADRID, NEW_YORK, PLACES, ScanStore
from tests.fixtures.scans import StoredScan as Scan
from tests.support.blocked import until_blocked

Scores = dict[UUID, tuple[float, list[str]]]
"""Score and rules of each scan."""


def score(store: ScanStore, scan_id: UUID) -> None:
    """Run the scan's job."""
    with transaction(context.for_brand_job(store.campaign.brand_id)):
        score_scan(scan_id)


def computed_scores(store: ScanStore) -> Scores:
    """Compute the scores of all stored scans at once."""
    store.cursor.execute("select id from public.qr_scans")
    ids = [id for (id,) in store.cursor.fetchall()]
    with transaction(context.for_brand_job(store.campaign.brand_id)):
        scores = {scan.id: fraud.score(scan.case) for scan in scoring.load_with_history(ids)}
    return {id: (score.value, [found.rule for found in score.evidence]) for id, score in scores.items()}


def stored_scores(store: ScanStore) -> Scores:
    """Read the stored scores."""
    store.cursor.execute("select id, score, evidence from public.qr_scans")
    return {
        id: (pytest.approx(score, abs=1e-6), [one["rule"] for one in evidence])
        for id, score, evidence in store.cursor.fetchall()
    }


def stored_rules(store: ScanStore) -> list[list[str]]:
    """Return the stored rules of each scan, by its id."""
    return [rules for _, (_, rules) in sorted(stored_scores(store).items())]


@pytest.fixture
def low_thresholds(monkeypatch) -> None:
    """Lower the thresholds, so that few scans test all rules."""
    for name in ("VELOCITY_SCANS", "SHARING_PEOPLE", "LATE_BATCH_SCANS", "BURST_DEVICES"):
        monkeypatch.setattr(fraud, name, 2)
    monkeypatch.setitem(scoring.WINDOWS, "burst_devices", 2)


MINUTES = [-1500, -30, -9, -9, -4, 0, 0, 0.01, 5, 11, 300, 1430, 1445]
drawn = st.lists(
    st.builds(
        Scan,
        id=st.integers(1, 2**64),
        person=st.integers(0, 2),
        device=st.integers(1, 3),
        place=st.sampled_from(sorted(PLACES)),
        at=st.sampled_from(MINUTES),
        delay=st.sampled_from([0, 0, 1, 15, 600]),
        new_device=st.booleans(),
        address=st.sampled_from(["192.0.2.1", "192.0.2.99", "198.51.100.1", "2001:db8::1"]),
    ),
    min_size=2,
    max_size=7,
    unique_by=lambda scan: scan.id,
)


@settings(max_examples=12)
@given(drawn, st.randoms(use_true_random=False))
def test_scores_are_the_same_in_any_order(scan_store, low_thresholds, drain, scans: list[Scan], chance: random.Random):
    scan_store.cursor.execute(
        "delete from public.engagement_events; delete from app.engagement_outbox; delete from public.engagements;"
        "delete from public.qr_scans; delete from app.jobs"
    )
    chance.shuffle(scans)
    unscored: list[UUID] = []

    for scan in scans:
        unscored.append(scan_store.put(scan))
        chance.shuffle(unscored)
        while unscored and chance.random() < 0.5:
            score(scan_store, unscored.pop())
    for scan_id in unscored:
        score(scan_store, scan_id)
    drain()

    assert stored_scores(scan_store) == computed_scores(scan_store)


def score_in_turn(store: ScanStore, drain: Callable[..., list[str]], *scans: Scan) -> list[list[str]]:
    """Store and score each scan with its dependent jobs before the next. Return the rules of each."""
    for scan in scans:
        score(store, store.put(scan))
        drain()
    return stored_rules(store)


@pytest.mark.parametrize("later", [0, 0.01, 5])
@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_scans_in_tokyo_and_madrid_both_have_evidence(scan_store, drain, later, shared):
    tokyo = Scan(1, **{"person": 1, "device": 1, "place": "Tokyo", "at": 0} | shared)
    madrid = Scan(2, **{"person": 2, "device": 2, "place": "Madrid", "at": -later} | shared)

    assert score_in_turn(scan_store, drain, tokyo, madrid) == [["travel.impossible"], ["travel.impossible"]]


@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_travel_of_three_scans_is_measured_between_neighbours(scan_store, drain, shared):
    scans = [
        Scan(n, **{"person": n - 1, "device": n, "place": place, "at": at} | shared)
        for n, (place, at) in enumerate([("Madrid", -24 * 60), ("Madrid", -60), ("Tokyo", 0)], start=1)
    ]

    assert score_in_turn(scan_store, drain, *scans) == [[], ["travel.impossible"], ["travel.impossible"]]


def test_scan_between_two_places_removes_their_evidence(scan_store, drain):
    first, last = Scan(1, place="Madrid", at=0), Scan(3, place="Tokyo", at=5)
    assert score_in_turn(scan_store, drain, first, last) == [["travel.impossible"]] * 2

    assert score_in_turn(scan_store, drain, Scan(2, place="Madrid", at=4.9)) == [
        [],
        ["travel.impossible"],
        ["travel.impossible"],
    ]


def test_velocity_is_evidence_if_the_newest_arrives_first(scan_store, drain):
    newest_first = [Scan(n, at=-n / 6) for n in range(1, 7)]

    assert score_in_turn(scan_store, drain, *newest_first) == [["device.velocity"]] * 2 + [[]] * 4


@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_late_batch_of_person_or_device_is_evidence(scan_store, drain, shared):
    late = [Scan(n, **{"person": n % 2, "device": n, "at": -60 * n, "delay": 60 * n} | shared) for n in range(1, 7)]

    assert score_in_turn(scan_store, drain, *late)[3:] == [
        ["scan.late"],
        ["scan.late_batch", "scan.late"],
        ["scan.late_batch", "scan.late"],
    ]


@pytest.mark.parametrize(
    ("shared", "others"), [({"person": 0}, ["scan.late"]), ({"device": 7}, ["device.shared", "scan.late"])]
)
def test_late_batch_is_evidence_if_the_last_is_stored_first(scan_store, drain, shared, others):
    # Each scan is received before the stored ones, and was made after them.
    last_first = [
        Scan(n, **{"person": n % 3, "device": n, "at": 60 * n - 600, "delay": 600 - 60 * n - n / 60} | shared)
        for n in range(1, 7)
    ]

    assert score_in_turn(scan_store, drain, *last_first) == [["scan.late_batch", "scan.late"]] * 2 + [others] * 4


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["203.0.113.{n}"], True),  # a /24
        (["2001:db8:0:1::{n}"], True),  # a /64
        (["203.0.113.{n}", "198.51.100.{n}"], False),
        (["2001:db8:0:{n}::1"], False),
        ([""], False),
    ],
)
def test_burst_of_new_devices_is_evidence_within_one_network(scan_store, drain, addresses, expected):
    scans = [
        Scan(n, device=n, person=n % 3, at=n / 60, new_device=True, address=addresses[n % len(addresses)].format(n=n))
        for n in range(1, 12)
    ]

    rules = score_in_turn(scan_store, drain, *scans)

    assert rules == [[]] * 9 + [["network.new_devices"] if expected else []] * 2


def test_burst_is_evidence_if_the_newest_arrives_first(scan_store, drain):
    newest_first = [Scan(n, device=n, person=n % 3, at=-n / 60, new_device=True) for n in range(1, 12)]

    assert score_in_turn(scan_store, drain, *newest_first) == [["network.new_devices"]] * 2 + [[]] * 9


def test_known_devices_of_one_network_are_no_burst(scan_store, drain):
    scans = [Scan(n, device=n, person=n % 3, at=n / 60) for n in range(1, 12)]

    assert score_in_turn(scan_store, drain, *scans) == [[]] * 11


def test_scoring_that_began_before_a_scan_arrived_is_corrected(scan_store, drain, superuser):
    tokyo = scan_store.put(Scan(1, place="Tokyo", at=0))

    with ThreadPoolExecutor(1) as elsewhere:
        with transaction(context.for_brand_job(scan_store.campaign.brand_id)):
            scoring.begin_scoring(tokyo)
            (early,) = scoring.load_with_history([tokyo])
            scan_store.put(Scan(2, place="Madrid", at=-5))
            others = elsewhere.submit(lambda: (score(scan_store, UUID(int=2)), drain()))
            until_blocked(superuser)
            scoring.apply_score(tokyo, fraud.score(early.case))
        others.result(60)

    assert stored_rules(scan_store) == [["travel.impossible"]] * 2


def test_late_scans_of_a_device_and_day_are_rescored_by_one_job(phone, campaign, code_of, drain, stored):
    code = code_of(campaign(age=timedelta(days=1)))
    device = phone()
    device.place = NEW_YORK
    device.scan(code)
    drain()
    device.place = MADRID
    for minutes_ago in (30, 20, 10):
        device.scan(code, scanned_at=now() - timedelta(minutes=minutes_ago))

    ran = drain()

    assert ran.count("scan.rescore") <= 4, "of the device and of the person, of at most two days"
    assert "travel.impossible" in [found["rule"] for found in stored()[0]["evidence"]]
