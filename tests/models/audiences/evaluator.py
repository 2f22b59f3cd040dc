"""A naive evaluator of segments: the meaning of the grammar in Python, one contact at a time."""

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from geopy.distance import geodesic
from msgspec import UNSET

from models.audiences.dsl import CalendarPeriod, Condition
from models.audiences.profile import FIELDS
from tests.models.audiences.population import NOW, PROPERTIES, Person

_TYPES = {"text": str, "number": (int, float), "boolean": bool, "date": str, "datetime": str, "list": list}


@dataclass
class Evaluator:
    """Evaluates definitions for people at one time in one zone."""

    people: list[Person]
    zone: str
    as_of: datetime
    segments: dict[Any, Condition]

    def members(self, node: Condition) -> set[Any]:
        """Return the ids of the contacts that fulfil a definition."""
        return {person.id for person in self.people if person.merged_into is None and self.holds(node, person)}

    def holds(self, node: Condition, person: Person) -> bool:
        """Return whether a contact fulfils a definition."""
        if node.not_of is not UNSET:
            return not self.holds(node.not_of, person)
        if node.all_of is not UNSET:
            return all(self.holds(child, person) for child in node.all_of)
        if node.any_of is not UNSET:
            return any(self.holds(child, person) for child in node.any_of)
        return getattr(self, node.present()[0])(node.leaf(), person)

    @property
    def today(self) -> date:
        """Day in the zone."""
        return self.as_of.astimezone(ZoneInfo(self.zone)).date()

    def back(self, last: CalendarPeriod, sign: int = -1) -> date:
        """Return the day that is so many units before today."""
        day = self.today
        if last.unit in ("day", "week"):
            return day + sign * timedelta(days=last.n * {"day": 1, "week": 7}[last.unit])
        for _ in range(last.n * {"month": 1, "year": 12}[last.unit]):
            first = day.replace(day=1)
            day = first - timedelta(days=1) if sign < 0 else first + timedelta(days=31)
        return day.replace(day=min(self.today.day, calendar.monthrange(day.year, day.month)[1]))

    def profile(self, leaf: Any, person: Person) -> bool:
        key = leaf.field.removeprefix("properties.")
        kind = PROPERTIES[key] if key != leaf.field else FIELDS[leaf.field].type
        found = person.properties.get(key) if key != leaf.field else person.columns.get(key)
        if key != leaf.field and (
            not isinstance(found, _TYPES[kind])
            or (kind == "number" and found in (True, False) and isinstance(found, bool))
        ):
            found = None
        if found is not None and kind == "date" and isinstance(found, str):
            found = date.fromisoformat(found)
        if found is not None and kind == "datetime":
            moment = datetime.fromisoformat(found) if isinstance(found, str) else found
            found = moment.astimezone(ZoneInfo(self.zone)).date()
        return self.compare(leaf.op, found, leaf.value, kind)

    def compare(self, op: str, found: Any, value: Any, kind: str) -> bool:
        """Return the result of a comparison."""
        if op == "is_set":
            return bool(found) if kind == "list" else found is not None
        if op in ("is_not_set", "neq", "not_in"):
            return not self.compare({"is_not_set": "is_set", "neq": "eq", "not_in": "in"}[op], found, value, kind)
        if found is None:
            return False
        if kind in ("date", "datetime") and not isinstance(value, CalendarPeriod):
            value = [date.fromisoformat(one) for one in value] if isinstance(value, list) else date.fromisoformat(value)
        if kind == "list":
            return bool(set(found) & set(value if isinstance(value, list) else [value]))
        return {
            "eq": lambda: found == value,
            "in": lambda: found in value,
            "gt": lambda: found > value,
            "gte": lambda: found >= value,
            "lt": lambda: found < value,
            "lte": lambda: found <= value,
            "between": lambda: value[0] <= found <= value[1],
            "contains": lambda: value.lower() in found.lower(),
            "starts_with": lambda: found.lower().startswith(value.lower()),
            "in_last": lambda: self.back(value) <= found <= self.today,
            "before_last": lambda: found < self.back(value),
            "in_next": lambda: self.today <= found <= self.back(value, 1),
        }[op]()

    def same(self, person: Person) -> list[Person]:
        """Return a contact with those merged into it."""
        return [other for other in self.people if person.id in (other.id, other.merged_into) and other.user_id]

    def trait(self, leaf: Any, person: Person) -> bool:
        usable = [
            (observed, value)
            for other in self.same(person)
            for name, value, observed, until in other.traits
            if name == leaf.name and until > self.as_of
        ]
        newest = max((observed for observed, _ in usable), default=None)
        found = min((value for observed, value in usable if observed == newest), default=None)
        return self.compare(leaf.op, found, leaf.value, "text")

    def event(self, leaf: Any, person: Person) -> bool:
        window, where, total = leaf.window, leaf.where, 0
        first, last = date.min, date.max
        if window is not UNSET and window.last is not UNSET:
            first, last = self.back(window.last), self.today
        elif window is not UNSET:
            first = first if window.start is UNSET else window.start
            last = last if window.end is UNSET else window.end
        for kind, campaign, day, n in person.activity:
            fits = kind == leaf.kind and first <= day <= last
            if where is not UNSET:
                fits &= where.campaign_ids is UNSET or campaign in where.campaign_ids
                fits &= where.weekdays is UNSET or day.isoweekday() in where.weekdays
            total += n if fits else 0
        count = leaf.count
        return {
            "gte": total >= count.n,
            "lte": total <= count.n,
            "eq": total == count.n,
            "between": count.n <= total <= (count.n if count.to is UNSET else count.to),
        }[count.op]

    def consent(self, leaf: Any, person: Person) -> bool:
        given = [one for other in self.same(person) for one in other.consents if one[0] == leaf.tier]
        if not given:
            return leaf.state == "never"
        if any(revoked is None and expires > NOW for _, revoked, expires in given):
            return leaf.state == "granted"
        ends = [
            (revoked, 1) if revoked is not None and revoked < expires else (expires, 0) for _, revoked, expires in given
        ]
        return leaf.state == ("withdrawn" if max(ends)[1] else "expired")

    def geo(self, leaf: Any, person: Person) -> bool:
        if person.columns.get("lat") is None:
            return False
        place = (person.columns["lat"], person.columns["lon"])
        return geodesic(place, (leaf.lat, leaf.lon)).meters <= leaf.radius_m

    def campaign(self, leaf: Any, person: Person) -> bool:
        return leaf.relation == "took_part" and any(one[1] == leaf.campaign_id for one in person.activity)

    def segment(self, leaf: Any, person: Person) -> bool:
        return self.holds(self.segments[leaf.segment_id], person)
