"""Scores don't depend on the order in which scans arrive and are scored."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.scans import score_scan
from models.core import context
from models.core.database import now, transaction
from models.scans import fraud, scoring
from tests.fixtures.scans import MADRID, NEW_YORK
from tests.support.blocked import until_blocked

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKYO = (35.6762, 139.6503)
PLACES = {"none": None, "Madrid": MADRID, "Tokyo": TOKYO}

_DEVICE = """
    insert into public.device_fingerprints (id, fingerprint_hash, brand_id, key_version)
    values (%(device)s, %(device)s, %(brand_id)s, 1) on conflict do nothing
"""
_SCAN = """
    insert into public.qr_scans (id, brand_id, campaign_id, code_id, user_id, device_fp_id, client_scan_id,
        request_digest, scan_time, received_at, late, new_device, address, location, accuracy_m, geofence_status,
        decision)
    select %(id)s, c.brand_id, c.campaign_id, c.id, %(user)s, %(device)s, %(id)s, '\\x00', %(scan_time)s,
        %(received_at)s, %(late)s, %(new_device)s, %(address)s,
        extensions.st_setsrid(extensions.st_makepoint(%(lon)s, %(lat)s), 4326)::extensions.geography,
        10, 'none', 'accepted'
    from public.qr_codes c where c.campaign_id = %(campaign_id)s
"""


@dataclass(frozen=True)
class Fact:
    """A scan as it is stored, apart from its score; times in minutes from noon."""

    id: int
    person: int = 0
    device: int = 0
    place: str = "none"
    at: float = 0
    delay: float = 0
    new_device: bool = False
    address: str = "192.0.2.1"


@dataclass
class Store:
    """Puts facts where the scan writer would, and scores them as workers would."""

    campaign: Any
    people: list[UUID]
    cursor: Any

    def put(self, fact: Fact) -> UUID:
        """Store a scan; its id."""
        scan_time = NOON + timedelta(minutes=fact.at)
        lat, lon = PLACES[fact.place] or (None, None)
        params = {
            "id": str(UUID(int=fact.id)),
            "brand_id": self.campaign.brand_id,
            "campaign_id": self.campaign.id,
            "user": self.people[fact.person],
            "device": str(UUID(int=fact.device)),
            "scan_time": scan_time,
            "received_at": scan_time + timedelta(minutes=fact.delay),
            "late": fact.delay > 2,
            "new_device": fact.new_device,
            "address": fact.address,
            "lat": lat,
            "lon": lon,
        }
        self.cursor.execute(_DEVICE, params)
        self.cursor.execute(_SCAN, params)
        return UUID(int=fact.id)

    def score(self, scan_id: UUID) -> None:
        """Run the scan's job."""
        with transaction(context.for_brand_job(self.campaign.brand_id)):
            score_scan(scan_id)

    def from_all_facts(self) -> dict[UUID, tuple[float, list[str]]]:
        """What each scan's score and rules are, now that all are stored."""
        self.cursor.execute("select id from public.qr_scans")
        ids = [id for (id,) in self.cursor.fetchall()]
        with transaction(context.for_brand_job(self.campaign.brand_id)):
            scores = {scan.id: fraud.score(scan.case) for scan in scoring.load_with_history(ids)}
        return {id: (score.value, [found.rule for found in score.evidence]) for id, score in scores.items()}

    def scores(self) -> dict[UUID, tuple[float, list[str]]]:
        """What is stored."""
        self.cursor.execute("select id, score, evidence from public.qr_scans")
        return {
            id: (pytest.approx(score, abs=1e-6), [one["rule"] for one in evidence])
            for id, score, evidence in self.cursor.fetchall()
        }

    def rules(self) -> list[list[str]]:
        """The rules that speak of each scan, by its id."""
        return [rules for _, (_, rules) in sorted(self.scores().items())]


@pytest.fixture
def store(campaign, fan, superuser) -> Store:
    made = campaign()
    people = [fan("essential").user_id for _ in range(3)]
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")
        yield Store(made, people, cursor)


@pytest.fixture
def low_thresholds(monkeypatch) -> None:
    """Few scans are enough for each rule, so that few scans test all of them."""
    for name in ("VELOCITY_SCANS", "SHARING_PEOPLE", "LATE_BATCH_SCANS", "BURST_DEVICES"):
        monkeypatch.setattr(fraud, name, 2)
    monkeypatch.setitem(scoring.WINDOWS, "burst_devices", 2)


MINUTES = [-1500, -30, -9, -9, -4, 0, 0, 0.01, 5, 11, 300, 1430, 1445]
facts = st.lists(
    st.builds(
        Fact,
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
    unique_by=lambda fact: fact.id,
)


@settings(max_examples=25)
@given(facts, st.randoms(use_true_random=False))
def test_scores_are_the_same_in_any_order(store, low_thresholds, drain, found: list[Fact], chance: random.Random):
    store.cursor.execute("delete from public.engagements; delete from public.qr_scans; delete from app.jobs")
    chance.shuffle(found)
    unscored: list[UUID] = []

    for fact in found:
        unscored.append(store.put(fact))
        chance.shuffle(unscored)
        while unscored and chance.random() < 0.5:
            store.score(unscored.pop())
    for scan_id in unscored:
        store.score(scan_id)
    drain()

    assert store.scores() == store.from_all_facts()


def scored_in_turn(store: Store, drain: Callable[..., list[str]], *found: Fact) -> list[list[str]]:
    """The rules that speak of each scan, where each is scored, with all that follows, before the next arrives."""
    for fact in found:
        store.score(store.put(fact))
        drain()
    return store.rules()


@pytest.mark.parametrize("later", [0, 0.01, 5])
@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_scan_in_tokyo_and_one_in_madrid_both_have_evidence(store, drain, later, shared):
    tokyo = Fact(1, **{"person": 1, "device": 1, "place": "Tokyo", "at": 0} | shared)
    madrid = Fact(2, **{"person": 2, "device": 2, "place": "Madrid", "at": -later} | shared)

    assert scored_in_turn(store, drain, tokyo, madrid) == [["travel.impossible"], ["travel.impossible"]]


@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_travel_of_three_scans_is_measured_between_neighbours(store, drain, shared):
    found = [
        Fact(n, **{"person": n - 1, "device": n, "place": place, "at": at} | shared)
        for n, (place, at) in enumerate([("Madrid", -24 * 60), ("Madrid", -60), ("Tokyo", 0)], start=1)
    ]

    assert scored_in_turn(store, drain, *found) == [[], ["travel.impossible"], ["travel.impossible"]]


def test_scan_between_two_places_takes_their_evidence_away(store, drain):
    first, last = Fact(1, place="Madrid", at=0), Fact(3, place="Tokyo", at=5)
    assert scored_in_turn(store, drain, first, last) == [["travel.impossible"]] * 2

    assert scored_in_turn(store, drain, Fact(2, place="Madrid", at=4.9)) == [
        [],
        ["travel.impossible"],
        ["travel.impossible"],
    ]


def test_velocity_is_noticed_whatever_scan_arrives_first(store, drain):
    newest_first = [Fact(n, at=-n / 6) for n in range(1, 7)]

    assert scored_in_turn(store, drain, *newest_first) == [["device.velocity"]] * 2 + [[]] * 4


@pytest.mark.parametrize("shared", [{"person": 0}, {"device": 7}])
def test_late_batch_of_a_person_or_a_device_is_noticed(store, drain, shared):
    late = [Fact(n, **{"person": n % 2, "device": n, "at": -60 * n, "delay": 60 * n} | shared) for n in range(1, 7)]

    assert scored_in_turn(store, drain, *late)[3:] == [
        ["scan.late"],
        ["scan.late_batch", "scan.late"],
        ["scan.late_batch", "scan.late"],
    ]


@pytest.mark.parametrize(
    ("shared", "others"), [({"person": 0}, ["scan.late"]), ({"device": 7}, ["device.shared", "scan.late"])]
)
def test_late_batch_is_noticed_whatever_scan_is_stored_first(store, drain, shared, others):
    # Each is received before the ones that are stored already, and was made after them.
    last_first = [
        Fact(n, **{"person": n % 3, "device": n, "at": 60 * n - 600, "delay": 600 - 60 * n - n / 60} | shared)
        for n in range(1, 7)
    ]

    assert scored_in_turn(store, drain, *last_first) == [["scan.late_batch", "scan.late"]] * 2 + [others] * 4


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (["203.0.113.{n}"], True),  # a /24
        (["2001:db8:0:1::{n}"], True),  # a /64
        (["203.0.113.{n}", "198.51.100.{n}"], False),
        (["2001:db8:0:{n}::1"], False),
        ([""], False),
    ],
)
def test_burst_of_new_devices_is_noticed_within_one_network(store, drain, addresses, said):
    found = [
        Fact(n, device=n, person=n % 3, at=n / 60, new_device=True, address=addresses[n % len(addresses)].format(n=n))
        for n in range(1, 12)
    ]

    rules = scored_in_turn(store, drain, *found)

    assert rules == [[]] * 9 + [["network.new_devices"] if said else []] * 2


def test_burst_is_noticed_whatever_device_arrives_first(store, drain):
    newest_first = [Fact(n, device=n, person=n % 3, at=-n / 60, new_device=True) for n in range(1, 12)]

    assert scored_in_turn(store, drain, *newest_first) == [["network.new_devices"]] * 2 + [[]] * 9


def test_known_devices_of_one_network_are_no_burst(store, drain):
    found = [Fact(n, device=n, person=n % 3, at=n / 60) for n in range(1, 12)]

    assert scored_in_turn(store, drain, *found) == [[]] * 11


def test_scoring_that_began_before_a_scan_arrived_is_corrected(store, drain, superuser):
    tokyo = store.put(Fact(1, place="Tokyo", at=0))

    with ThreadPoolExecutor(1) as elsewhere:
        with transaction(context.for_brand_job(store.campaign.brand_id)):
            scoring.begin_scoring(tokyo)
            (early,) = scoring.load_with_history([tokyo])
            store.put(Fact(2, place="Madrid", at=-5))
            others = elsewhere.submit(lambda: (store.score(UUID(int=2)), drain()))
            until_blocked(superuser)
            scoring.apply_score(tokyo, fraud.score(early.case))
        others.result(60)

    assert store.rules() == [["travel.impossible"]] * 2


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
