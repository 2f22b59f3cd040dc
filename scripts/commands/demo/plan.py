"""Plan the simulated phones from a seed: their behaviour, and the expected outcome of each scan.

The plan sends nothing. The campaign's rules alone decide the outcomes, so they are known in advance.
"""

import itertools
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Deviation = Literal["", "forged", "no_consent", "no_location", "old_location", "sent_twice"]

PER_PERSON = 4
"""Scans of one person that a campaign accepts in its lifetime."""
PER_DEVICE = 5
"""Scans of one device that a campaign accepts in a day."""
SHARERS = 6
"""People who share one device."""
SUSPICIOUS = {3: ["device.shared"], 4: ["device.shared"], 5: ["device.shared", "device.velocity"]}
"""Fraud rules that match the third, fourth and fifth scan of a shared device. Both rules together put the fifth
scan into the reject band, so its person does not count as reached."""
METRES_PER_DEGREE = 111_195.0


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a campaign: a circle on the map."""

    name: str
    city: str
    lat: float
    lon: float
    radius_m: float
    timezone: str


PLAZA_MAYOR = Place("Plaza Mayor", "Madrid", 40.41541, -3.70740, 300, "Europe/Madrid")
ZOCALO = Place("Zócalo", "Ciudad de México", 19.43260, -99.13320, 300, "America/Mexico_City")
PLACES = (PLAZA_MAYOR, ZOCALO)


@dataclass(frozen=True, slots=True)
class PlannedScan:
    """One scan: its position, its age, its deviation from an ordinary scan, and the expected outcome."""

    client_scan_id: str
    place: Place
    lat: float
    lon: float
    accuracy_m: float
    expected: str = "accepted"
    """`accepted`, or the reason of the refusal."""
    age: float = 0.0
    """Seconds from scanning to sending."""
    deviation: Deviation = ""
    flags: tuple[str, ...] = ()
    """Fraud rules that must match."""


@dataclass(slots=True)
class Phone:
    """One person with a device, and the scans in their order."""

    number: int
    behaviour: str
    fingerprint: str
    scans: list[PlannedScan]


@dataclass(frozen=True, slots=True)
class Group:
    """Phones that run one after the other: a single phone, or people who share a device."""

    starts: float
    """Seconds after the start of the run."""
    phones: list[Phone]

    @property
    def shares(self) -> bool:
        """Whether the people share one device."""
        return len(self.phones) > 1


@dataclass(frozen=True, slots=True)
class Plan:
    """All planned phones."""

    groups: list[Group]

    @property
    def phones(self) -> list[Phone]:
        """Every phone."""
        return [phone for group in self.groups for phone in group.phones]

    @property
    def scans(self) -> list[PlannedScan]:
        """Every scan."""
        return [scan for phone in self.phones for scan in phone.scans]

    def expected(self) -> Counter[str]:
        """Return the number of scans by expected outcome."""
        return Counter(scan.expected for scan in self.scans)

    def flags(self) -> Counter[str]:
        """Return the number of accepted scans that each fraud rule must match."""
        return Counter(rule for scan in self.scans for rule in scan.flags)

    def reach(self) -> int:
        """Return the number of people with an accepted scan below the reject band."""
        reached = sum(any(scan.expected == "accepted" for scan in phone.scans) for phone in self.phones)
        return reached - sum(group.shares for group in self.groups)


class _Generator:
    """Generate ids and scans from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def scan(self, place: Place, near: float, far: float, **more: Any) -> PlannedScan:
        """Return a scan between `near` and `far` metres from the centre of a place."""
        distance, bearing = self.random.uniform(near, far), self.random.uniform(0, math.tau)
        lat = place.lat + distance * math.cos(bearing) / METRES_PER_DEGREE
        lon = place.lon + distance * math.sin(bearing) / (METRES_PER_DEGREE * math.cos(math.radians(place.lat)))
        accuracy_m = more.pop("accuracy_m", round(self.random.uniform(4, 25), 1))
        return PlannedScan(self.id(), place, round(lat, 6), round(lon, 6), accuracy_m, **more)

    def inside(self, place: Place = PLAZA_MAYOR, **more: Any) -> PlannedScan:
        """Return a scan that is inside the geofence at any accuracy."""
        return self.scan(place, 0, place.radius_m - 50, **more)


Behaviour = Callable[[_Generator], list[PlannedScan]]


def _single(make: _Generator) -> list[PlannedScan]:
    return [make.inside()]


def _repeated(make: _Generator) -> list[PlannedScan]:
    return [make.inside(), make.inside()]


def _outside(make: _Generator) -> list[PlannedScan]:
    return [make.scan(PLAZA_MAYOR, 450, 4000, expected="geofence_outside")]


def _uncertain(make: _Generator) -> list[PlannedScan]:
    radius = PLAZA_MAYOR.radius_m
    flags = ("fence.flagged", "fence.uncertain")
    return [make.scan(PLAZA_MAYOR, radius - 40, radius + 40, accuracy_m=90, flags=flags)]


def _over_limit(make: _Generator) -> list[PlannedScan]:
    over = [make.inside(expected="cap_exhausted") for _ in range(2)]
    return [make.inside() for _ in range(PER_PERSON)] + over


def _impossible_travel(make: _Generator) -> list[PlannedScan]:
    flags = ("travel.impossible",)
    return [make.inside(PLAZA_MAYOR, age=100, flags=flags), make.inside(ZOCALO, flags=flags)]


def _without_consent(make: _Generator) -> list[PlannedScan]:
    return [make.inside(expected="consent_required", deviation="no_consent"), make.inside()]


def _without_location(make: _Generator) -> list[PlannedScan]:
    return [make.inside(expected="location_required", deviation="no_location"), make.inside()]


def _stale_location(make: _Generator) -> list[PlannedScan]:
    return [make.inside(expected="location_stale", deviation="old_location")]


def _late(make: _Generator) -> list[PlannedScan]:
    # Late, but within the five minutes before the launch that are granted for wrong clocks.
    return [make.inside(age=make.random.uniform(150, 280))]


def _forged(make: _Generator) -> list[PlannedScan]:
    return [make.inside(expected="bad_token", deviation="forged")]


def _sent_twice(make: _Generator) -> list[PlannedScan]:
    return [make.inside(deviation="sent_twice")]


BEHAVIOURS: list[tuple[Behaviour, str, float]] = [
    (_repeated, "repeated", 0.10),
    (_outside, "outside", 0.08),
    (_uncertain, "uncertain position", 0.04),
    (_over_limit, "over the limit", 0.04),
    (_impossible_travel, "impossible travel", 0.04),
    (_without_consent, "without consent", 0.02),
    (_without_location, "without location", 0.02),
    (_stale_location, "stale location", 0.02),
    (_late, "late", 0.03),
    (_forged, "forged code", 0.02),
    (_sent_twice, "sent twice", 0.08),
]
"""Behaviours with their names and their shares of the phones. The other phones scan once."""
SHARING = 0.05
"""Share of the people who share a device."""


def make(number: int, seed: int, seconds: float) -> Plan:
    """Plan `number` phones that start within `seconds`. The same seed makes the same plan."""
    generator = _Generator(seed)
    behaviours = list(_behaviours(number))
    generator.random.shuffle(behaviours)
    numbers = itertools.count()
    groups = [
        _group(generator, behaviour, name, numbers, generator.random.uniform(0, seconds))
        for behaviour, name in behaviours
    ]
    return Plan(sorted(groups, key=lambda group: group.starts))


def _behaviours(number: int) -> Iterator[tuple[Behaviour | None, str]]:
    """Yield the behaviour of each group. None stands for people who share a device."""
    left = number
    for behaviour, name, share in BEHAVIOURS:
        count = min(left, max(1, round(number * share)))
        left -= count
        yield from [(behaviour, name)] * count
    sharing = min(left, max(SHARERS, round(number * SHARING))) // SHARERS
    yield from [(None, "shared device")] * sharing
    yield from [(_single, "single")] * (left - sharing * SHARERS)


def _group(
    generator: _Generator, behaviour: Behaviour | None, name: str, numbers: Iterator[int], starts: float
) -> Group:
    device = f"demo-{generator.id()}"
    if behaviour is not None:
        return Group(starts, [Phone(next(numbers), name, device, behaviour(generator))])
    scans = [_shared(generator, nth) for nth in range(1, SHARERS + 1)]
    return Group(starts, [Phone(next(numbers), name, device, [scan]) for scan in scans])


def _shared(generator: _Generator, nth: int) -> PlannedScan:
    expected = "accepted" if nth <= PER_DEVICE else "limit_reached"
    return generator.inside(expected=expected, flags=tuple(SUSPICIOUS.get(nth, ())))
