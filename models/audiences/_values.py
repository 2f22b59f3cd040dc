"""Comparisons of leaves with one value: which a type allows, and what they mean.

A comparison that is true without a value is the negation of a positive one, so only positive comparisons are compiled.
"""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from msgspec import UNSET

from models.audiences._calendar import shift
from models.audiences.dsl import CalendarPeriod, Op
from models.audiences.profile import ValueType
from models.core.errors import FieldError, Invalid
from models.core.messages import Message

Positive = Literal["set", "in", "range", "contains", "starts_with"]

_ANY = ("is_set", "is_not_set")
_ORDER = ("eq", "neq", "gt", "gte", "lt", "lte", "between")
_PERIODS = ("in_last", "before_last", "in_next")
OPERATORS: dict[str, tuple[str, ...]] = {
    "text": (*_ANY, "eq", "neq", "in", "not_in", "contains", "starts_with"),
    "number": (*_ANY, *_ORDER, "in", "not_in"),
    "boolean": (*_ANY, "eq", "neq"),
    "date": (*_ANY, *_ORDER, *_PERIODS),
    "datetime": (*_ANY, *_ORDER, *_PERIODS),
    "list": (*_ANY, "in", "not_in", "contains"),
}
"""Operators of each type of field."""
YEARS = (1900, 2199)
"""First and last year of a date in a definition."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A positive comparison, or its negation.

    Attributes:
        op: `set`; `in` with `values`; `range` from `low` to `high`, None without a bound; `contains` and `starts_with`
            with one value.
        excludes: which ends of the range are excluded.
    """

    op: Positive
    negated: bool = False
    values: tuple[Any, ...] = ()
    low: Any = None
    high: Any = None
    excludes: tuple[bool, bool] = (False, False)


def comparison(kind: ValueType, op: Op, value: Any, *, path: str, today: date) -> Comparison:
    """Return the comparison of a leaf with a field of a type.

    Args:
        kind: type of the field.
        op: operator of the leaf.
        value: value of the leaf, or UNSET.
        path: path of the leaf, for errors.
        today: day in the time zone of the brand; periods are relative to it.

    Raises:
        Invalid: the type does not have the operator, or the value does not suit them.
    """
    if op not in OPERATORS[kind]:
        raise Invalid(f"{path}.op", Message("must be an operator of the type {type}", type=kind))
    if op in _ANY:
        if value is not UNSET:
            raise Invalid(f"{path}.value", Message("must be absent for {operator}", operator=op))
        return Comparison("set", negated=op == "is_not_set")
    if value is UNSET:
        raise Invalid(f"{path}.value", "is required")
    if op in _PERIODS:
        return _period(op, value, path=path, today=today)
    values = _values(kind, op, value, path=f"{path}.value")
    if op in ("contains", "starts_with"):
        return Comparison("in" if kind == "list" else op, values=values)
    if op in ("in", "not_in", "eq", "neq"):
        return Comparison("in", negated=op in ("not_in", "neq"), values=values)
    if op == "between":
        return Comparison("range", low=values[0], high=values[1])
    if op in ("gt", "gte"):
        return Comparison("range", low=values[0], excludes=(op == "gt", False))
    return Comparison("range", high=values[0], excludes=(False, op == "lt"))


def _period(op: str, value: Any, *, path: str, today: date) -> Comparison:
    if not isinstance(value, CalendarPeriod):
        raise Invalid(f"{path}.value", "must be a period with `n` and `unit`")
    if op == "in_last":
        return Comparison("range", low=shift(today, value, -1), high=today)
    if op == "in_next":
        return Comparison("range", low=today, high=shift(today, value, 1))
    return Comparison("range", high=shift(today, value, -1) - timedelta(days=1))


def _values(kind: ValueType, op: Op, value: Any, *, path: str) -> tuple[Any, ...]:
    is_list = op in ("in", "not_in", "between")
    if is_list != isinstance(value, list):
        raise Invalid(path, "must be a list" if is_list else "must be a single value")
    given = value if is_list else [value]
    paths = [f"{path}[{number}]" if is_list else path for number in range(len(given))]
    values = tuple(_value(kind, one, place) for one, place in zip(given, paths, strict=True))
    if op == "between":
        if len(values) != 2:
            raise Invalid(path, "must have two items")
        if values[0] > values[1]:
            raise Invalid(path, "must have the lower end first")
    return values


def _value(kind: ValueType, value: Any, path: str) -> Any:
    if kind in ("text", "list") and isinstance(value, str):
        if "\x00" in value:
            raise Invalid(path, "must not contain the character NUL (U+0000)")
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if kind in ("date", "datetime") and isinstance(value, str):
        return day(value, path)
    raise Invalid(errors=[FieldError(path, _MUST_BE[kind])])


_MUST_BE = {
    "text": "must be a text",
    "list": "must be a text",
    "boolean": "must be true or false",
    "number": "must be a number",
    "date": "must be a date such as 2026-12-01",
    "datetime": "must be a date such as 2026-12-01",
}


def day(text: str, path: str) -> date:
    """Return the date that a text in the form `YYYY-MM-DD` names.

    Raises:
        Invalid: the text is no such date, or its year is not within `YEARS`.
    """
    try:
        found = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        found = None
    if found is None:
        raise Invalid(path, _MUST_BE["date"])
    require_years(found, path)
    return found


def require_years(found: date, path: str) -> None:
    """Refuse a date outside `YEARS`."""
    if not YEARS[0] <= found.year <= YEARS[1]:
        raise Invalid(path, Message("must be from {first} to {last}", first=YEARS[0], last=YEARS[1]))
