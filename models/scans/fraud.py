"""Fraud rules and the score that combines their evidence.

Rules are pure functions from a `Case` to `Evidence` or None. A case holds facts of stored scans and never a score.
So scores don't depend on the order of arrival and of scoring (docs/decisions/0022-fraud-scores-without-order.md).
A score is evidence, not a verdict: a person decides on scans in the bands `REVIEW` and `REJECT`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

REVIEW_FROM = 0.3
REJECT_FROM = 0.7
"""Lowest scores of the bands `REVIEW` and `REJECT`. Lower scores are in the band `ACCEPT`."""

VELOCITY_WINDOW = timedelta(minutes=10)
VELOCITY_SCANS = 5
"""Scans of one device within the window: more than a person makes after reading each result."""

SHARING_WINDOW = timedelta(hours=24)
SHARING_PEOPLE = 3
"""People with one device within the window: more than a couple that shares it."""

AIRLINER_KMH = 900.0
MIN_TRAVEL_KM = 100.0
"""Shorter distances are ignored: unreported positioning errors look like travel."""

LATE_BATCH_WINDOW = timedelta(minutes=10)
LATE_BATCH_SCANS = 5
"""Late scans of one person or device that arrive within the window: more than a phone stores while it is offline."""

BURST_WINDOW = timedelta(minutes=10)
BURST_DEVICES = 10
"""New devices of one network (IPv4 /24, IPv6 /64) on one code within the window. Counting stops here."""


class Band(Enum):
    """The consequence of a score: count the scan, let a person review it, or exclude it from reach."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"

    @classmethod
    def of(cls, score: float) -> "Band":
        """Return the band of a score."""
        if score < REVIEW_FROM:
            return cls.ACCEPT
        return cls.REVIEW if score < REJECT_FROM else cls.REJECT


@dataclass(frozen=True, slots=True)
class Position:
    """A reported position: degrees on WGS-84, accuracy in metres (68 % certainty), and the time of the scan."""

    lat: float
    lon: float
    accuracy_m: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Positions of the nearest scans before and after a scan, ordered by (scan time, id)."""

    before: Position | None = None
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The facts of a scan and of the scans around it.

    Attributes:
        geofence_status: `none`, `inside`, `outside`, `uncertain` or `unknown`.
        overshoot_m: metres by which the position, at the limit of its accuracy, is outside the geofence; at least 0.
        flag_uncertain: whether the campaign flags scans with the geofence status `uncertain`.
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
    geofence_status: str
    overshoot_m: float
    flag_uncertain: bool
    position: Position | None
    person: Neighbours
    device: Neighbours
    device_scans: int
    device_people: int
    late_batch: int
    new_devices: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """The finding of a rule: the observed value, its threshold, their unit, and a weight from 0 to 1."""

    rule: str
    observed: float
    threshold: float
    unit: str
    weight: float

    @classmethod
    def over(cls, threshold: float, *, observed: float, unit: str) -> "Evidence | None":
        """Return evidence if `observed` is at least `threshold`. The decorator `rule` adds name and weight."""
        return cls("", observed, threshold, unit, 0.0) if observed >= threshold else None

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as JSON. An infinite value is null, because JSON has no number for it."""
        return asdict(self) | {"observed": self.observed if math.isfinite(self.observed) else None}


@dataclass(frozen=True, slots=True)
class Score:
    """The suspicion of a scan from 0 to 1, and its evidence with the heaviest first."""

    value: float
    evidence: tuple[Evidence, ...]

    @property
    def band(self) -> Band:
        """The band of the score."""
        return Band.of(self.value)


Rule = Callable[[Case], Evidence | None]
RULES: dict[str, Rule] = {}
"""All rules by name."""


def rule(name: str, *, weight: float) -> Callable[[Rule], Rule]:
    """Declare a rule. `weight` (0 to 1): the probability that a scan with this evidence alone is not genuine.

    Raises:
        ValueError: the name exists already, or the weight is not between 0 and 1.
    """
    if not 0 < weight < 1 or name in RULES:
        raise ValueError(f"{name}: the name must be new and the weight between 0 and 1")

    def declare(function: Rule) -> Rule:
        def named(case: Case) -> Evidence | None:
            found = function(case)
            return found and replace(found, rule=name, weight=weight)

        RULES[name] = named
        return function

    return declare


def score(case: Case) -> Score:
    """Evaluate every rule on a case."""
    return combine(found for examine in RULES.values() if (found := examine(case)) is not None)


def combine(evidence: Iterable[Evidence]) -> Score:
    """Combine evidence to 1 − Π(1 − wᵢ), as of independent reasons (noisy or; Pearl 1988)."""
    ordered = tuple(sorted(evidence, key=lambda found: (-found.weight, found.rule)))
    return Score(1.0 - math.prod(1.0 - found.weight for found in ordered), ordered)


def distance_km(one: Position, other: Position) -> float:
    """Return the distance in km on the WGS-84 ellipsoid (Karney 2013, from geopy)."""
    # Import here: geopy imports geocoders and an HTTP client, which would delay the start of every process.
    from geopy.distance import geodesic

    return float(geodesic((one.lat, one.lon), (other.lat, other.lon)).km)


@rule("device.velocity", weight=0.55)
def velocity(case: Case) -> Evidence | None:
    """Detect a device that scans faster than a person can read the results."""
    return Evidence.over(VELOCITY_SCANS, observed=case.device_scans, unit="scans/10min")


@rule("device.shared", weight=0.4)
def shared_device(case: Case) -> Evidence | None:
    """Detect a device that scans for several people."""
    return Evidence.over(SHARING_PEOPLE, observed=case.device_people, unit="people/24h")


@rule("travel.impossible", weight=0.6)
def impossible_travel(case: Case) -> Evidence | None:
    """Detect travel faster than an airliner to or from a neighbouring scan of the person or of the device.

    Speed in km/h against `AIRLINER_KMH` (see `speed_kmh`).
    """
    if case.position is None:
        return None
    neighbours = (case.person.before, case.person.after, case.device.before, case.device.after)
    speed = max((speed_kmh(case.position, other) for other in neighbours if other is not None), default=0.0)
    return Evidence.over(AIRLINER_KMH, observed=speed, unit="km/h")


def speed_kmh(one: Position, other: Position) -> float:
    """Return the lowest speed in km/h that takes a traveller from one place to the other.

    The distance is that on the ellipsoid less both reported accuracies. Below `MIN_TRAVEL_KM` the speed is 0;
    from there on, equal times mean an infinite speed.
    """
    km = distance_km(one, other) - (one.accuracy_m + other.accuracy_m) / 1000
    if km < MIN_TRAVEL_KM:
        return 0.0
    hours = abs(one.at - other.at) / timedelta(hours=1)
    return km / hours if hours else math.inf


def changes_travel(position: Position | None, neighbours: Neighbours) -> bool:
    """Return whether a scan at `position` can change the travel evidence of its neighbours.

    Before this scan arrived, its two neighbours were neighbours of each other. Now each has this scan as its neighbour.
    """
    if position is None:
        return False
    pairs = ((neighbours.before, position), (position, neighbours.after), (neighbours.before, neighbours.after))
    return any(one and other and speed_kmh(one, other) >= AIRLINER_KMH for one, other in pairs)


@rule("fence.outside", weight=0.4)
def outside_geofence(case: Case) -> Evidence | None:
    """Detect a scan that is certainly outside the geofence. It was rejected; the attempt is evidence."""
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if case.geofence_status == "outside" else None


@rule("fence.uncertain", weight=0.15)
def uncertain_geofence(case: Case) -> Evidence | None:
    """Detect a scan that may be outside the geofence. Observed: the overshoot in metres."""
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if case.geofence_status == "uncertain" else None


@rule("fence.flagged", weight=0.3)
def flagged_by_campaign(case: Case) -> Evidence | None:
    """Detect a scan that may be outside the geofence of a campaign which flags such scans for review."""
    flagged = case.geofence_status == "uncertain" and case.flag_uncertain
    return Evidence.over(0.0, observed=case.overshoot_m, unit="m") if flagged else None


@rule("scan.late", weight=0.1)
def late_arrival(case: Case) -> Evidence | None:
    """Detect a late scan. The weight is low: honest phones lose the network, too."""
    delay = (case.received_at - case.scanned_at) / timedelta(seconds=1)
    return Evidence.over(0.0, observed=delay, unit="s") if case.late else None


@rule("scan.late_batch", weight=0.35)
def late_batch(case: Case) -> Evidence | None:
    """Detect a late scan that arrives together with many other late scans of the person or of the device.

    A script that invents scan times sends such batches. With `scan.late`, it leads to a review.
    """
    return Evidence.over(LATE_BATCH_SCANS, observed=case.late_batch, unit="late scans/10min")


@rule("network.new_devices", weight=0.25)
def new_device_burst(case: Case) -> Evidence | None:
    """Detect a burst of devices that one network introduces on one code.

    A client can create any number of anonymous people and fingerprints, so limits per person and device don't stop a
    script. A crowd behind one address looks the same: alone, this evidence stays below `REVIEW_FROM`.
    """
    return Evidence.over(BURST_DEVICES, observed=case.new_devices, unit="new devices/10min")
