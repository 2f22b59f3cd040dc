"""Fraud rules, each by itself, and the score over what they find."""

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


def rules_that_speak(**changes) -> list[str]:
    return [found.rule for found in score(replace(HARMLESS, **changes)).evidence]


def test_of_an_ordinary_scan_nothing_is_said():
    assert score(HARMLESS) == fraud.Score(0.0, ())
    assert score(HARMLESS).band is Band.ACCEPT


@pytest.mark.parametrize(("scans", "said"), [(4, []), (5, ["device.velocity"]), (50, ["device.velocity"])])
def test_five_scans_of_a_device_in_ten_minutes_are_too_many(scans, said):
    assert rules_that_speak(device_scans=scans) == said


@pytest.mark.parametrize(("people", "said"), [(2, []), (3, ["device.shared"])])
def test_three_people_with_one_device_in_a_day_are_too_many(people, said):
    assert rules_that_speak(device_people=people) == said


@pytest.mark.parametrize(
    ("neighbours", "said"),
    [
        (Neighbours(before=at(NEW_YORK, -60)), ["travel.impossible"]),  # 5,768 km in an hour
        (Neighbours(after=at(NEW_YORK, 60)), ["travel.impossible"]),
        (Neighbours(before=at(NEW_YORK, 0)), ["travel.impossible"]),  # no time between them
        (Neighbours(after=at(NEW_YORK, 0)), ["travel.impossible"]),
        (Neighbours(before=at(NEW_YORK, -8 * 60)), []),  # in eight hours an airliner does it
        (Neighbours(before=at(TOLEDO, -1), after=at(TOLEDO, 0)), []),  # 68 km: nearer than errors of positioning reach
        (Neighbours(before=at(MADRID, -10), after=at(NEW_YORK, 60)), ["travel.impossible"]),
        (Neighbours(), []),
    ],
)
@pytest.mark.parametrize("of", ["person", "device"])
def test_nobody_is_faster_than_an_airliner(of, neighbours, said):
    assert rules_that_speak(**{of: neighbours}) == said


def test_evidence_without_time_between_two_places_is_stored_as_json():
    (found,) = score(replace(HARMLESS, person=Neighbours(before=at(NEW_YORK, 0)))).evidence

    assert found.observed == math.inf
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["observed"] is None


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (at(MADRID, -5), at(TOLEDO, 5), False),
        (at(NEW_YORK, -5), None, True),
        (None, at(NEW_YORK, 5), True),
        # They were impossible neighbours of each other, and have a possible one now.
        (at(TOLEDO, -1), at(NORTH_OF_MADRID, 1), True),
        (None, None, False),
    ],
)
def test_scan_between_two_others_changes_their_travel_only_if_one_is_far(before, after, changes):
    assert fraud.changes_travel(at(MADRID, 0), Neighbours(before, after)) is changes
    assert fraud.changes_travel(None, Neighbours(before, after)) is False


@pytest.mark.parametrize(("scans", "said"), [(4, ["scan.late"]), (5, ["scan.late_batch", "scan.late"])])
def test_five_late_scans_that_arrive_together_lead_to_a_review(scans, said):
    changes = {"late": True, "received_at": NOON + timedelta(hours=3), "late_batch": scans}

    assert rules_that_speak(**changes) == said
    assert score(replace(HARMLESS, **changes)).band is (Band.REVIEW if len(said) == 2 else Band.ACCEPT)


@pytest.mark.parametrize(("devices", "said"), [(9, []), (10, ["network.new_devices"])])
def test_ten_new_devices_of_a_network_are_evidence_below_a_review(devices, said):
    assert rules_that_speak(new_devices=devices) == said
    assert score(replace(HARMLESS, new_devices=devices)).band is Band.ACCEPT


def test_both_accuracies_are_taken_off_the_distance():
    km = fraud.distance_km(at(NEW_YORK), at(MADRID))
    hours = 6.3

    assert km / hours > fraud.AIRLINER_KMH
    assert rules_that_speak(person=Neighbours(before=at(NEW_YORK, -hours * 60, accuracy_m=150_000))) == []


def test_without_a_position_nothing_is_said_about_travel():
    assert rules_that_speak(position=None, person=Neighbours(before=at(NEW_YORK, -60))) == []


def test_distances_are_those_on_the_ellipsoid():
    assert fraud.distance_km(at(MADRID), at(NEW_YORK)) == pytest.approx(5769, abs=10)
    assert fraud.distance_km(at(MADRID), at(MADRID)) == 0


def test_evidence_carries_what_was_observed_and_what_it_was_held_against():
    (found,) = score(replace(HARMLESS, person=Neighbours(before=at(NEW_YORK, -60)))).evidence

    assert (found.rule, found.threshold, found.unit, found.weight) == ("travel.impossible", 900.0, "km/h", 0.6)
    assert found.observed == pytest.approx(5769, abs=10)


@pytest.mark.parametrize(
    ("changes", "said", "band"),
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
def test_one_strong_reason_is_for_a_person_to_look_at_and_two_hold_a_scan_back(changes, said, band):
    found = score(replace(HARMLESS, **changes))

    assert [one.rule for one in found.evidence] == said
    assert found.band is band


@pytest.mark.parametrize(
    ("value", "band"),
    [(0.0, "accept"), (0.2999, "accept"), (0.3, "review"), (0.6999, "review"), (0.7, "reject"), (1, "reject")],
)
def test_bands_begin_where_they_are_said_to(value, band):
    assert Band.of(value) == Band(band)


def test_a_rule_needs_a_name_of_its_own_and_a_weight_that_leaves_doubt():
    for name, weight in (("device.velocity", 0.5), ("new", 0.0), ("new", 1.0)):
        with pytest.raises(ValueError, match=name):
            fraud.rule(name, weight=weight)


weights = st.floats(0.01, 0.99)
bodies = st.lists(
    st.builds(Evidence, st.sampled_from(sorted(RULES)), st.floats(0, 1e6), st.floats(0, 1e6), st.just("1"), weights),
    max_size=12,
)


@given(bodies)
def test_a_score_lies_between_nothing_and_certainty(evidence):
    assert 0.0 <= combine(evidence).value <= 1.0


@given(bodies, st.randoms())
def test_the_order_of_the_evidence_makes_no_difference(evidence, chance: random.Random):
    shuffled = list(evidence)
    chance.shuffle(shuffled)

    assert combine(shuffled).value == pytest.approx(combine(evidence).value)


@given(bodies, weights)
def test_more_evidence_never_lowers_a_score(evidence, weight):
    more = Evidence("one.more", 1, 0, "1", weight)

    assert combine([*evidence, more]).value >= combine(evidence).value


@given(bodies)
def test_a_score_is_never_below_its_heaviest_evidence(evidence):
    assert combine(evidence).value >= max((found.weight for found in evidence), default=0.0) - 1e-12


places = st.none() | st.builds(
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
    position=places,
    person=st.builds(Neighbours, places, places),
    device=st.builds(Neighbours, places, places),
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
