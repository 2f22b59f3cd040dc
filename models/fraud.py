"""How likely a scan is not what it seems: rules that each look at one thing, and a score over what they found.

Rules are pure: a `Case` in, `Evidence` or nothing out. A score is evidence, not a verdict: people decide on what
is not clear (`Band.REVIEW`), and on what is held back (`Band.REJECT`).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

REVIEW_FROM = 0.3
REJECT_FROM = 0.7
"""Where the bands begin: below the first a scan is accepted, from the second on it is held."""

VELOCITY_WINDOW = timedelta(minutes=10)
VELOCITY_SCANS = 5
"""So many scans of a device within the window are more than somebody makes who looks at what they scan."""

SHARING_WINDOW = timedelta(hours=24)
SHARING_PEOPLE = 3
"""So many people with one device within the window are more than a couple that shares one."""

AIRLINER_KMH = 900.0
MIN_TRAVEL_KM = 100.0
"""Below it, errors of positioning that nobody reported look like travel."""


class Band(Enum):
    """What a score means for the scan."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"

    @classmethod
    def of(cls, score: float) -> "Band":
        """The band that a score falls into."""
        if score < REVIEW_FROM:
            return cls.ACCEPT
        return cls.REVIEW if score < REJECT_FROM else cls.REJECT


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody was and when: degrees on WGS-84, metres of 68 % accuracy."""

    lat: float
    lon: float
    accuracy_m: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Case:
    """A scan and its history, as far as the rules look at it.

    `before` are the places of the person's and of the device's scan before this one, where there was one.
    `device_scans` counts the device's scans in the `VELOCITY_WINDOW` that ends with this one, `device_people` the
    people in the `SHARING_WINDOW`, both with this scan.
    """

    scanned_at: datetime
    received_at: datetime
    late: bool
    fence: str
    overshoot_m: float
    wants_review: bool
    place: Place | None
    before: tuple[Place, ...]
    device_scans: int
    device_people: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule found: the value, what it was held against, and how much it weighs (0 to 1)."""

    rule: str
    observed: float
    threshold: float
    unit: str
    weight: float

    @classmethod
    def over(cls, threshold: float, *, observed: float, unit: str) -> "Evidence | None":
        """Evidence if `observed` is `threshold` or more. The rule's name and weight are put on by `rule`."""
        return cls("", observed, threshold, unit, 0.0) if observed >= threshold else None


@dataclass(frozen=True, slots=True)
class Score:
    """How suspicious a scan is, from 0 to 1, and why: the heaviest evidence first."""

    value: float
    evidence: tuple[Evidence, ...]

    @property
    def band(self) -> Band:
        """What it means."""
        return Band.of(self.value)


Rule = Callable[[Case], Evidence | None]
RULES: dict[str, Rule] = {}
"""Every rule, by its name."""


def rule(name: str, *, weight: float) -> Callable[[Rule], Rule]:
    """Declare a rule whose evidence weighs `weight`: how likely, by itself, it makes a scan not genuine.

    Raises:
        ValueError: the name is taken, or the weight is not between 0 and 1.
    """
    if not 0 < weight < 1 or name in RULES:
        raise ValueError(f"{name}: the name has to be new and the weight between 0 and 1")

    def declare(function: Rule) -> Rule:
        def named(case: Case) -> Evidence | None:
            found = function(case)
            return found and replace(found, rule=name, weight=weight)

        RULES[name] = named
        return function

    return declare


def score(case: Case) -> Score:
    """Hold a case against every rule."""
    return combined(found for examine in RULES.values() if (found := examine(case)) is not None)


def combined(evidence: Iterable[Evidence]) -> Score:
    """The score of a body of evidence: 1 − Π(1 − wᵢ), as if each were an independent reason (noisy or; Pearl 1988)."""
    ordered = tuple(sorted(evidence, key=lambda found: (-found.weight, found.rule)))
    return Score(1.0 - math.prod(1.0 - found.weight for found in ordered), ordered)


def distance_km(one: Place, other: Place) -> float:
    """How far apart two places are on the WGS-84 ellipsoid (Karney 2013, through geopy)."""
    # Not on top: it brings geocoders and an HTTP client along, and every process would wait for them when it starts.
    from geopy.distance import geodesic

    return float(geodesic((one.lat, one.lon), (other.lat, other.lon)).km)


@rule("device.velocity", weight=0.55)
def velocity(case: Case) -> Evidence | None:
    """One device scans faster than somebody who looks at what they scan."""
    return Evidence.over(VELOCITY_SCANS, observed=case.device_scans, unit="scans/10min")


@rule("device.shared", weight=0.4)
def shared_device(case: Case) -> Evidence | None:
    """One device scans for several people."""
    return Evidence.over(SHARING_PEOPLE, observed=case.device_people, unit="people/24h")


@rule("travel.impossible", weight=0.6)
def impossible_travel(case: Case) -> Evidence | None:
    """Farther from the scan before than an airliner flies in the time between them, for the person or the device.

    Speed in km/h against `AIRLINER_KMH`, of the distance less both reported accuracies. Nothing is said
    for less than `MIN_TRAVEL_KM` or for unordered times.
    """
    if case.place is None:
        return None
    speed = max((speed_kmh(before, case.place) for before in case.before), default=0.0)
    return Evidence.over(AIRLINER_KMH, observed=speed, unit="km/h")


def speed_kmh(before: Place, after: Place) -> float:
    """How fast one has to travel at least to have been at both places, in km/h; 0 where nothing can be said."""
    hours = (after.at - before.at) / timedelta(hours=1)
    km = distance_km(before, after) - (before.accuracy_m + after.accuracy_m) / 1000
    return km / hours if km >= MIN_TRAVEL_KM and hours > 0 else 0.0


@rule("fence.outside", weight=0.4)
def outside_the_fence(case: Case) -> Evidence | None:
    """Certainly not where the activation takes place. The scan was refused; that it was tried counts."""
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if case.fence == "outside" else None


@rule("fence.uncertain", weight=0.15)
def near_the_fence(case: Case) -> Evidence | None:
    """The position allows for having been outside; observed is by how much, in metres."""
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if case.fence == "uncertain" else None


@rule("fence.flagged", weight=0.3)
def flagged_by_the_campaign(case: Case) -> Evidence | None:
    """The campaign wants somebody to look at each scan that may have been made outside."""
    flagged = case.fence == "uncertain" and case.wants_review
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if flagged else None


@rule("scan.late", weight=0.1)
def late_arrival(case: Case) -> Evidence | None:
    """It arrived long after it was made. Phones do lose the network, so this says little by itself."""
    delay = (case.received_at - case.scanned_at) / timedelta(seconds=1)
    return Evidence.over(0.0, observed=delay, unit="s") if case.late else None
