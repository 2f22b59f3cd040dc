"""Fraud rules, each by itself, and the score that combines their evidence."""

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scans import fraud
from models.scans.fraud import RULES, Band, Case, Evidence, Neighbours, Position, combine, score

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MADRID, NEW_YORK, TOLEDO = (40.4168, -3.7038), (40.7580, -73.9855), (39.8628, -4.0273)
NORTH_OF_MADRID = (41.0, -3.7)


def at(place: tuple[float, float], minutes: float = 0, accuracy_m: float = 10) -> Position:
    return Position(*place, accuracy_m, NOON + timedelta(minutes=minutes))


HARMLESS = Case(
    scanned_at=NOON,
    received_at=NOON + timedelta(seconds=1),
    late=False,
    geofence_status="inside",
    overshoot_m=0.0,
    flag_uncertain=False,
    position=at(MADRID),
    person=Neighbours(before=at(MADRID, -30)),
    device=Neighbours(),
    device_scans=1,
    device_people=1,
    late_batch=0,
    new_devices=1,
)


def matching_rules(**changes) -> list[str]:
    return [found.rule for found in score(replace(HARMLESS, **changes)).evidence]


def test_ordinary_scan_has_no_evidence():
    assert score(HARMLESS) == fraud.Score(0.0, ())
    assert score(HARMLESS).band is Band.ACCEPT


@pytest.mark.parametrize(("scans", "expected"), [(4, []), (5, ["device.velocity"]), (50, ["device.velocity"])])
def test_five_scans_of_a_device_in_ten_minutes_are_evidence(scans, expected):
    assert matching_rules(device_scans=scans) == expected


@pytest.mark.parametrize(("people", "expected"), [(2, []), (3, ["device.shared"])])
def test_three_people_with_one_device_in_a_day_are_evidence(people, expected):
    assert matching_rules(device_people=people) == expected


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    [
        (Neighbours(before=at(NEW_YORK, -60)), ["travel.impossible"]),  # 5,768 km in an hour
        (Neighbours(after=at(NEW_YORK, 60)), ["travel.impossible"]),
        (Neighbours(before=at(NEW_YORK, 0)), ["travel.impossible"]),  # no time between them
        (Neighbours(after=at(NEW_YORK, 0)), ["travel.impossible"]),
        (Neighbours(before=at(NEW_YORK, -8 * 60)), []),  # in eight hours an airliner does it
        (Neighbours(before=at(TOLEDO, -1), after=at(TOLEDO, 0)), []),  # 68 km: positioning errors reach as far
        (Neighbours(before=at(MADRID, -10), after=at(NEW_YORK, 60)), ["travel.impossible"]),
        (Neighbours(), []),
    ],
)
@pytest.mark.parametrize("of", ["person", "device"])
def test_travel_faster_than_an_airliner_is_evidence(of, neighbours, expected):
    assert matching_rules(**{of: neighbours}) == expected


def test_infinite_speed_is_null_in_json():
    (found,) = score(replace(HARMLESS, person=Neighbours(before=at(NEW_YORK, 0)))).evidence

    assert found.observed == math.inf
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["observed"] is None


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (at(MADRID, -5), at(TOLEDO, 5), False),
        (at(NEW_YORK, -5), None, True),
        (None, at(NEW_YORK, 5), True),
        # Their travel to each other was impossible. To and from this scan it is possible.
        (at(TOLEDO, -1), at(NORTH_OF_MADRID, 1), True),
        (None, None, False),
    ],
)
def test_scan_changes_travel_of_neighbours_only_if_one_is_far(before, after, changes):
    assert fraud.changes_travel(at(MADRID, 0), Neighbours(before, after)) is changes
    assert fraud.changes_travel(None, Neighbours(before, after)) is False


@pytest.mark.parametrize(("scans", "expected"), [(4, ["scan.late"]), (5, ["scan.late_batch", "scan.late"])])
def test_five_late_scans_that_arrive_together_need_a_review(scans, expected):
    changes = {"late": True, "received_at": NOON + timedelta(hours=3), "late_batch": scans}

    assert matching_rules(**changes) == expected
    assert score(replace(HARMLESS, **changes)).band is (Band.REVIEW if len(expected) == 2 else Band.ACCEPT)


@pytest.mark.parametrize(("devices", "expected"), [(9, []), (10, ["network.new_devices"])])
def test_ten_new_devices_of_a_network_are_evidence_below_review(devices, expected):
    assert matching_rules(new_devices=devices) == expected
    assert score(replace(HARMLESS, new_devices=devices)).band is Band.ACCEPT


def test_distance_is_reduced_by_both_accuracies():
    km = fraud.distance_km(at(NEW_YORK), at(MADRID))
    hours = 6.3

    assert km / hours > fraud.AIRLINER_KMH
    assert matching_rules(person=Neighbours(before=at(NEW_YORK, -hours * 60, accuracy_m=150_000))) == []


def test_scan_without_position_has_no_travel_evidence():
    assert matching_rules(position=None, person=Neighbours(before=at(NEW_YORK, -60))) == []


def test_distance_is_measured_on_the_ellipsoid():
    assert fraud.distance_km(at(MADRID), at(NEW_YORK)) == pytest.approx(5769, abs=10)
    assert fraud.distance_km(at(MADRID), at(MADRID)) == 0


def test_evidence_has_observed_value_threshold_and_unit():
    (found,) = score(replace(HARMLESS, person=Neighbours(before=at(NEW_YORK, -60)))).evidence

    assert (found.rule, found.threshold, found.unit, found.weight) == ("travel.impossible", 900.0, "km/h", 0.6)
    assert found.observed == pytest.approx(5769, abs=10)


@pytest.mark.parametrize(
    ("changes", "expected", "band"),
    [
        ({"geofence_status": "outside", "overshoot_m": 3000}, ["fence.outside"], Band.REVIEW),
        ({"geofence_status": "uncertain", "overshoot_m": 8}, ["fence.uncertain"], Band.ACCEPT),
        (
            {"geofence_status": "uncertain", "overshoot_m": 8, "flag_uncertain": True},
            ["fence.flagged", "fence.uncertain"],
            Band.REVIEW,
        ),
        ({"late": True, "received_at": NOON + timedelta(hours=3)}, ["scan.late"], Band.ACCEPT),
        ({"device_scans": 9}, ["device.velocity"], Band.REVIEW),
        ({"device_people": 3}, ["device.shared"], Band.REVIEW),
        ({"person": Neighbours(before=at(NEW_YORK, -60))}, ["travel.impossible"], Band.REVIEW),
        ({"device_scans": 9, "device_people": 3}, ["device.velocity", "device.shared"], Band.REJECT),
        (
            {"person": Neighbours(before=at(NEW_YORK, -60)), "device_people": 3},
            ["travel.impossible", "device.shared"],
            Band.REJECT,
        ),
    ],
)
def test_one_strong_rule_needs_a_review_and_two_reject(changes, expected, band):
    found = score(replace(HARMLESS, **changes))

    assert [one.rule for one in found.evidence] == expected
    assert found.band is band


@pytest.mark.parametrize(
    ("value", "band"),
    [(0.0, "accept"), (0.2999, "accept"), (0.3, "review"), (0.6999, "review"), (0.7, "reject"), (1, "reject")],
)
def test_bands_begin_at_their_thresholds(value, band):
    assert Band.of(value) == Band(band)


def test_rule_with_taken_name_or_weight_out_of_range_is_refused():
    for name, weight in (("device.velocity", 0.5), ("new", 0.0), ("new", 1.0)):
        with pytest.raises(ValueError, match=name):
            fraud.rule(name, weight=weight)


weights = st.floats(0.01, 0.99)
bodies = st.lists(
    st.builds(Evidence, st.sampled_from(sorted(RULES)), st.floats(0, 1e6), st.floats(0, 1e6), st.just("1"), weights),
    max_size=12,
)


@given(bodies, weights, st.randoms())
def test_score_is_bounded_grows_with_evidence_and_ignores_its_order(evidence, weight, chance: random.Random):
    value = combine(evidence).value
    shuffled = list(evidence)
    chance.shuffle(shuffled)

    assert 0.0 <= value <= 1.0
    assert value >= max((found.weight for found in evidence), default=0.0) - 1e-12
    assert combine(shuffled).value == pytest.approx(value)
    assert combine([*evidence, Evidence("one.more", 1, 0, "1", weight)]).value >= value


positions = st.none() | st.builds(
    Position,
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.floats(0, 1e6),
    st.datetimes(NOON.replace(tzinfo=None) - timedelta(days=1), NOON.replace(tzinfo=None)).map(
        lambda t: t.replace(tzinfo=UTC)
    ),
)
cases = st.builds(
    Case,
    scanned_at=st.just(NOON),
    received_at=st.timedeltas(timedelta(0), timedelta(days=1)).map(lambda delay: NOON + delay),
    late=st.booleans(),
    geofence_status=st.sampled_from(["none", "inside", "outside", "uncertain", "unknown"]),
    overshoot_m=st.floats(0, 2e7),
    flag_uncertain=st.booleans(),
    position=positions,
    person=st.builds(Neighbours, positions, positions),
    device=st.builds(Neighbours, positions, positions),
    device_scans=st.integers(1, 10_000),
    device_people=st.integers(1, 10_000),
    late_batch=st.integers(0, 10_000),
    new_devices=st.integers(0, fraud.BURST_DEVICES),
)


@given(cases)
def test_every_case_can_be_scored(case):
    found = score(case)

    assert found.value == pytest.approx(combine(found.evidence).value)
    assert {one.rule for one in found.evidence} <= set(RULES)
    assert all(one.observed >= one.threshold and 0 < one.weight < 1 for one in found.evidence)


def test_speed_of_the_airliner_is_the_threshold():
    km = fraud.distance_km(at(MADRID, accuracy_m=0), at(NEW_YORK, accuracy_m=0))
    minutes = km / fraud.AIRLINER_KMH * 60

    assert matching_rules(position=at(MADRID), person=Neighbours(before=at(NEW_YORK, 0.1 - minutes))) == [
        "travel.impossible"
    ]
    assert matching_rules(position=at(MADRID), person=Neighbours(before=at(NEW_YORK, -0.1 - minutes))) == []


@pytest.mark.parametrize(("beyond_m", "speed"), [(1.0, math.inf), (-1.0, 0.0)])
def test_travel_counts_from_one_hundred_kilometres(beyond_m, speed):
    far = at(NORTH_OF_MADRID, accuracy_m=0)
    km = fraud.distance_km(at(MADRID), at(NEW_YORK))
    accuracy_m = (km - fraud.MIN_TRAVEL_KM) * 1000 - beyond_m

    assert fraud.speed_kmh(at(MADRID, accuracy_m=0), at(NEW_YORK, accuracy_m=accuracy_m)) == speed
    assert fraud.speed_kmh(at(MADRID, accuracy_m=0), far) == 0.0


def test_geofence_rules_match_their_own_status_only():
    found = {
        status: matching_rules(geofence_status=status, overshoot_m=8, flag_uncertain=True)
        for status in ("none", "inside", "outside", "uncertain", "unknown")
    }

    assert found == {
        "none": [],
        "inside": [],
        "outside": ["fence.outside"],
        "uncertain": ["fence.flagged", "fence.uncertain"],
        "unknown": [],
    }
