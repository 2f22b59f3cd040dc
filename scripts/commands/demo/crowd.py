"""Who comes to the square: phones and their habits, drawn by a seed, and what has to become of their scans.

Nothing here speaks to anybody. What the plan says is decided by the campaign's rules alone, so it is known beforehand.
"""

import itertools
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Mishap = Literal["", "forged", "no_consent", "no_location", "old_location", "sent_twice"]

PER_PERSON = 4
"""Scans of one person that a campaign accepts in its lifetime."""
PER_DEVICE = 5
"""Scans of one device that a campaign accepts in a day."""
SHARERS = 6
"""People who pass one device around."""
SUSPICIOUS = {3: ["device.shared"], 4: ["device.shared"], 5: ["device.shared", "device.velocity"]}
"""What the fraud rules say of a device's third, fourth and fifth scan, when each is another person's. For both together
the last is held back, and its person does not count as reached."""
METRES_PER_DEGREE = 111_195.0


@dataclass(frozen=True, slots=True)
class Place:
    """A square with a campaign on it."""

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
class Scan:
    """One scan: where, how long before it is sent, what goes wrong, and what has to become of it."""

    client_scan_id: str
    place: Place
    lat: float
    lon: float
    accuracy_m: float
    expected: str = "accepted"
    """`accepted`, or the reason why not."""
    age: float = 0.0
    """Seconds between scanning and sending."""
    mishap: Mishap = ""
    flags: tuple[str, ...] = ()
    """What the fraud rules have to find."""


@dataclass(slots=True)
class Phone:
    """One person and what they scan, one after the other."""

    number: int
    habit: str
    fingerprint: str
    scans: list[Scan]


@dataclass(frozen=True, slots=True)
class Party:
    """Phones that come together, each waiting for the one before: one, or the people who share a device."""

    arrives: float
    """Seconds after the crowd begins to come."""
    phones: list[Phone]

    @property
    def shares(self) -> bool:
        """Whether they have one device."""
        return len(self.phones) > 1


@dataclass(frozen=True, slots=True)
class Crowd:
    """All of them."""

    parties: list[Party]

    @property
    def phones(self) -> list[Phone]:
        """Every phone."""
        return [phone for party in self.parties for phone in party.phones]

    @property
    def scans(self) -> list[Scan]:
        """Every scan that is planned."""
        return [scan for phone in self.phones for scan in phone.scans]

    def expected(self) -> Counter[str]:
        """How many scans are to be accepted, and refused for which reason."""
        return Counter(scan.expected for scan in self.scans)

    def flags(self) -> Counter[str]:
        """How many accepted scans each fraud rule has to find something about."""
        return Counter(rule for scan in self.scans for rule in scan.flags)

    def reach(self) -> int:
        """How many people count as reached: those with an accepted scan, without those whose only one is held."""
        reached = sum(any(scan.expected == "accepted" for scan in phone.scans) for phone in self.phones)
        return reached - sum(party.shares for party in self.parties)


class _Dice:
    """What the seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def scan(self, place: Place, near: float, far: float, **more: Any) -> Scan:
        """A scan between `near` and `far` metres from the middle of a place."""
        distance, bearing = self.random.uniform(near, far), self.random.uniform(0, math.tau)
        lat = place.lat + distance * math.cos(bearing) / METRES_PER_DEGREE
        lon = place.lon + distance * math.sin(bearing) / (METRES_PER_DEGREE * math.cos(math.radians(place.lat)))
        accuracy_m = more.pop("accuracy_m", round(self.random.uniform(4, 25), 1))
        return Scan(self.id(), place, round(lat, 6), round(lon, 6), accuracy_m, **more)

    def inside(self, place: Place = PLAZA_MAYOR, **more: Any) -> Scan:
        """A scan that is inside the fence whatever its accuracy."""
        return self.scan(place, 0, place.radius_m - 50, **more)


Habit = Callable[[_Dice], list[Scan]]


def _visitor(dice: _Dice) -> list[Scan]:
    return [dice.inside()]


def _regular(dice: _Dice) -> list[Scan]:
    return [dice.inside(), dice.inside()]


def _passer_by(dice: _Dice) -> list[Scan]:
    return [dice.scan(PLAZA_MAYOR, 450, 4000, expected="geofence_outside")]


def _at_the_edge(dice: _Dice) -> list[Scan]:
    radius = PLAZA_MAYOR.radius_m
    flags = ("fence.flagged", "fence.uncertain")
    return [dice.scan(PLAZA_MAYOR, radius - 40, radius + 40, accuracy_m=90, flags=flags)]


def _greedy(dice: _Dice) -> list[Scan]:
    over = [dice.inside(expected="cap_exhausted") for _ in range(2)]
    return [dice.inside() for _ in range(PER_PERSON)] + over


def _traveller(dice: _Dice) -> list[Scan]:
    flags = ("travel.impossible",)
    return [dice.inside(PLAZA_MAYOR, age=100, flags=flags), dice.inside(ZOCALO, flags=flags)]


def _unasked(dice: _Dice) -> list[Scan]:
    return [dice.inside(expected="consent_required", mishap="no_consent"), dice.inside()]


def _shy(dice: _Dice) -> list[Scan]:
    return [dice.inside(expected="location_required", mishap="no_location"), dice.inside()]


def _stale(dice: _Dice) -> list[Scan]:
    return [dice.inside(expected="location_stale", mishap="old_location")]


def _offline(dice: _Dice) -> list[Scan]:
    # Late, and still within the five minutes before the launch that clocks are granted.
    return [dice.inside(age=dice.random.uniform(150, 280))]


def _forger(dice: _Dice) -> list[Scan]:
    return [dice.inside(expected="bad_token", mishap="forged")]


def _stammerer(dice: _Dice) -> list[Scan]:
    return [dice.inside(mishap="sent_twice")]


HABITS: list[tuple[Habit, str, float]] = [
    (_regular, "regular", 0.10),
    (_passer_by, "passer-by", 0.08),
    (_at_the_edge, "at the edge", 0.04),
    (_greedy, "greedy", 0.04),
    (_traveller, "traveller", 0.04),
    (_unasked, "unasked", 0.02),
    (_shy, "shy", 0.02),
    (_stale, "stale", 0.02),
    (_offline, "offline", 0.03),
    (_forger, "forger", 0.02),
    (_stammerer, "stammerer", 0.08),
]
"""What some people do, and which part of the crowd they are; the rest scan once and go."""
SHARING = 0.05


def gather(number: int, seed: int, seconds: float) -> Crowd:
    """The crowd of this seed: `number` phones that arrive within `seconds`."""
    dice = _Dice(seed)
    habits = list(_habits(number))
    dice.random.shuffle(habits)
    numbers = itertools.count()
    parties = [_party(dice, habit, name, numbers, dice.random.uniform(0, seconds)) for habit, name in habits]
    return Crowd(sorted(parties, key=lambda party: party.arrives))


def _habits(number: int) -> Iterator[tuple[Habit | None, str]]:
    """What comes, by habit; None is a party that shares a device."""
    left = number
    for habit, name, part in HABITS:
        count = min(left, max(1, round(number * part)))
        left -= count
        yield from [(habit, name)] * count
    parties = min(left, max(SHARERS, round(number * SHARING))) // SHARERS
    yield from [(None, "sharer")] * parties
    yield from [(_visitor, "visitor")] * (left - parties * SHARERS)


def _party(dice: _Dice, habit: Habit | None, name: str, numbers: Iterator[int], arrives: float) -> Party:
    device = f"demo-{dice.id()}"
    if habit is not None:
        return Party(arrives, [Phone(next(numbers), name, device, habit(dice))])
    scans = [_shared(dice, nth) for nth in range(1, SHARERS + 1)]
    return Party(arrives, [Phone(next(numbers), name, device, [scan]) for scan in scans])


def _shared(dice: _Dice, nth: int) -> Scan:
    expected = "accepted" if nth <= PER_DEVICE else "limit_reached"
    return dice.inside(expected=expected, flags=tuple(SUSPICIOUS.get(nth, ())))
