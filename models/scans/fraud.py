"""Fraud rules and the score that combines their evidence.

Rules are pure: a `Case` in, `Evidence` or nothing out. A case holds facts of stored scans and never a score, so scans
get the same scores in whatever order they arrive and are scored (docs/decisions/0022-fraud-scores-without-order.md).
A score is evidence, not a verdict: people decide on what is not clear (`Band.REVIEW`), and on what is held back
(`Band.REJECT`).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

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

LATE_BATCH_WINDOW = timedelta(minutes=10)
LATE_BATCH_SCANS = 5
"""Late scans of one person or device within the window: more than a phone stores while it is offline."""

BURST_WINDOW = timedelta(minutes=10)
BURST_DEVICES = 10
"""New devices of one network (IPv4 /24, IPv6 /64) on one code within the window. Higher counts are cut off."""


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
class Neighbours:
    """The places of the nearest scans before and after a scan, in the order of (scan time, id)."""

    before: Place | None = None
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The facts of a scan and of the scans around it.

    Attributes:
        person: neighbours of the scan among the person's scans with this brand that have a position.
        device: neighbours of the scan among the device's scans that have a position.
        device_scans: scans of the device in the `VELOCITY_WINDOW` that ends with this scan, itself included.
        device_people: people who used the device in the `SHARING_WINDOW` that ends with this scan.
        late_batch: late scans of the person or of the device, whichever are more, that arrived in the
            `LATE_BATCH_WINDOW` that ends with the arrival of this scan; 0 if this scan is not late.
        new_devices: devices that the network introduced on the code in the `BURST_WINDOW` that ends with the arrival
            of this scan, at most `BURST_DEVICES`; 0 if this scan did not introduce its device.
    """

    scanned_at: datetime
    received_at: datetime
    late: bool
    fence: str
    overshoot_m: float
    wants_review: bool
    place: Place | None
    person: Neighbours
    device: Neighbours
    device_scans: int
    device_people: int
    late_batch: int
    new_devices: int


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

    def stored(self) -> dict[str, Any]:
        """Return the evidence as JSON. An infinite value is null, because JSON has no number for it."""
        return asdict(self) | {"observed": self.observed if math.isfinite(self.observed) else None}


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
    """Detect travel faster than an airliner to or from a neighbouring scan of the person or of the device.

    Speed in km/h against `AIRLINER_KMH` (see `speed_kmh`).
    """
    if case.place is None:
        return None
    neighbours = (case.person.before, case.person.after, case.device.before, case.device.after)
    speed = max((speed_kmh(case.place, place) for place in neighbours if place is not None), default=0.0)
    return Evidence.over(AIRLINER_KMH, observed=speed, unit="km/h")


def speed_kmh(one: Place, other: Place) -> float:
    """Return the lowest speed in km/h that takes a traveller from one place to the other.

    The distance is that on the ellipsoid less both reported accuracies. Below `MIN_TRAVEL_KM` the speed is 0;
    from there on, equal times mean an infinite speed.
    """
    km = distance_km(one, other) - (one.accuracy_m + other.accuracy_m) / 1000
    if km < MIN_TRAVEL_KM:
        return 0.0
    hours = abs(one.at - other.at) / timedelta(hours=1)
    return km / hours if hours else math.inf


def changes_travel(place: Place | None, neighbours: Neighbours) -> bool:
    """Return whether a scan at `place` can change the travel evidence of its neighbours.

    Before this scan arrived, its two neighbours were neighbours of each other. Now each has this scan as its neighbour.
    """
    if place is None:
        return False
    pairs = ((neighbours.before, place), (place, neighbours.after), (neighbours.before, neighbours.after))
    return any(one and other and speed_kmh(one, other) >= AIRLINER_KMH for one, other in pairs)


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


@rule("scan.late_batch", weight=0.35)
def late_batch(case: Case) -> Evidence | None:
    """Detect a late scan that arrives together with many other late scans of the person or of the device.

    A script that invents scan times sends such batches. With `scan.late`, it leads to a review.
    """
    return Evidence.over(LATE_BATCH_SCANS, observed=case.late_batch, unit="late scans/10min")


@rule("network.new_devices", weight=0.25)
def burst_of_new_devices(case: Case) -> Evidence | None:
    """Detect a burst of devices that one network introduces on one code.

    A client can make any number of anonymous people and fingerprints, so limits per person and per device don't bind a
    script. A crowd behind one address looks the same: alone, this evidence stays below `REVIEW_FROM`.
    """
    return Evidence.over(BURST_DEVICES, observed=case.new_devices, unit="new devices/10min")
