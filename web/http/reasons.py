"""Reasons for which a field is invalid, in plain words. `web.http.translations` has them in the other languages."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import inspect

from models.core.messages import Message

REQUIRED = Message("is required")
UNKNOWN_FIELD = Message("is not a known field")
UNKNOWN_PARAMETER = Message("is not a known parameter")
REPEATED = Message("must be given only once")
NUL = Message("must not contain the character NUL (U+0000)")
SURROGATE = Message("must not contain a lone surrogate: half of a pair that encodes one character")
TOO_LONG_INTEGER = Message("must fit into 64 bits")
TOO_LARGE = Message("is too large for a number")
NOT_UTF8 = Message("must be encoded in UTF-8")
GENERAL = Message("is not valid")
"""For a refusal that no other reason explains."""

_KINDS: dict[type[inspect.Type], str] = {
    inspect.NoneType: Message("null"),
    inspect.BoolType: Message("true or false"),
    inspect.IntType: Message("a whole number"),
    inspect.FloatType: Message("a number"),
    inspect.StrType: Message("text"),
    inspect.BytesType: Message("text in base64"),
    inspect.DateTimeType: Message("a date and time with its offset from UTC, such as 2026-11-22T18:30:00Z"),
    inspect.DateType: Message("a date, such as 2026-11-22"),
    inspect.TimeType: Message("a time, such as 18:30:00"),
    inspect.TimeDeltaType: Message("a duration, such as P1D"),
    inspect.UUIDType: Message("a UUID, such as 01939a5c-7d1e-7c3a-9b60-3f1b2c4d5e6f"),
    inspect.DecimalType: Message("a decimal number"),
    inspect.TupleType: Message("a list"),
    inspect.DictType: Message("an object"),
    inspect.StructType: Message("an object"),
}
"""Descriptions of the JSON values of each type."""


def kind_of(info: inspect.Type) -> str:
    """Return the description of a value of a type: `a whole number`."""
    if isinstance(info, inspect.LiteralType | inspect.EnumType):
        return Message("one of: {values}", values=", ".join(map(str, values_of(info))))
    if isinstance(info, inspect.CollectionType):
        return "a list"
    return _KINDS.get(type(info), Message("a valid value"))


def values_of(info: inspect.LiteralType | inspect.EnumType) -> list[Any]:
    """Return the allowed values of an enumeration."""
    return list(info.values) if isinstance(info, inspect.LiteralType) else [member.value for member in info.cls]


def wrong_kind(options: list[inspect.Type]) -> str:
    """Return the reason for a value of another JSON type than those of `options`."""
    kinds = list(dict.fromkeys(kind_of(option) for option in options if not isinstance(option, inspect.NoneType)))
    kind = kinds[-1] if kinds else "null"
    for other in reversed(kinds[:-1]):
        kind = Message("{kind} or {other}", kind=other, other=kind)
    return Message("must be {kind}", kind=kind)


def of_number(info: inspect.IntType | inspect.FloatType, value: float) -> str | None:
    """Return the reason why a number is out of its range, or None."""
    if not _in_range(info, value):
        if info.ge is not None and info.le is not None:
            return Message("must be from {least} to {most}", least=_plain(info.ge), most=_plain(info.le))
        if info.ge is not None and value < info.ge:
            return Message("must be at least {least}", least=_plain(info.ge))
        if info.le is not None and value > info.le:
            return Message("must be at most {most}", most=_plain(info.le))
        if info.gt is not None and value <= info.gt:
            return Message("must be greater than {bound}", bound=_plain(info.gt))
        return Message("must be less than {bound}", bound=_plain(info.lt))
    if info.multiple_of is not None and value % info.multiple_of:
        return Message("must be a multiple of {factor}", factor=_plain(info.multiple_of))
    return None


def _in_range(info: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return not (
        (info.ge is not None and value < info.ge)
        or (info.le is not None and value > info.le)
        or (info.gt is not None and value <= info.gt)
        or (info.lt is not None and value >= info.lt)
    )


def _plain(number: float | None) -> float | None:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def of_characters(least: int | None, most: int | None, length: int) -> str | None:
    """Return the reason why a text is too short or too long, or None. `length` in characters."""
    if (least or 0) <= length and (most is None or length <= most):
        return None
    if least and most is not None:
        if least == most:
            return Message("must have exactly {count} characters", count=most)
        return Message("must have {least} to {most} characters", least=least, most=most)
    if most is not None:
        return Message("must have at most {most} characters", most=most)
    if least == 1:
        return Message("must have at least 1 character")
    return Message("must have at least {least} characters", least=least)


def of_items(least: int | None, most: int | None, length: int) -> str | None:
    """Return the reason why a list or an object has too few or too many items, or None."""
    if (least or 0) <= length and (most is None or length <= most):
        return None
    if least and most is not None:
        if least == most:
            return Message("must have exactly {count} items", count=most)
        return Message("must have {least} to {most} items", least=least, most=most)
    if most is not None:
        return Message("must have at most {most} items", most=most)
    if least == 1:
        return Message("must have at least 1 item")
    return Message("must have at least {least} items", least=least)


def of_pattern(examples: Sequence[Any]) -> str:
    """Return the reason for a text that does not match the pattern of a field without a reason of its own."""
    if examples:
        return Message("must have the form of {example}", example=examples[0])
    return Message("does not have the required form")


_FORMATS: dict[type[inspect.Type], Any] = {
    inspect.DateTimeType: datetime,
    inspect.DateType: date,
    inspect.TimeType: time,
    inspect.TimeDeltaType: timedelta,
    inspect.UUIDType: UUID,
    inspect.DecimalType: Decimal,
    inspect.BytesType: bytes,
}


def has_format(info: inspect.Type, text: str) -> bool:
    """Return whether a text has the format of a type, such as that of a date."""
    kind = _FORMATS.get(type(info))
    if kind is None:
        return True
    if isinstance(info, inspect.DateTimeType | inspect.TimeType) and info.tz is not None:
        kind = Annotated[kind, msgspec.Meta(tz=info.tz)]
    try:
        msgspec.convert(text, kind)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter: a lone surrogate
        return False
    return True
