"""Profile fields of contacts: the one table that segments, lists, import and export read.

Custom properties of a brand are in `properties`; a field and a property never have the same name: a property is
addressed as `properties.<key>`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

import phonenumbers

from models.core import emails, texts
from models.core.enumerations import enumeration
from models.core.errors import FieldError, Invalid
from models.core.messages import Message

MAX_TAGS = 100
"""Maximum number of tags of a contact."""
MAX_TAG = 100
"""Maximum number of characters of a tag."""
FIRST_BIRTH = date(1900, 1, 1)
"""Earliest date of birth."""

ValueType = Annotated[
    Literal["text", "number", "boolean", "date", "datetime", "list"],
    enumeration(
        "ContactValueType",
        "Type of a value of a contact. `text`: a string. `number`: a JSON number. `boolean`: true or false. `date`: a "
        "date without a time (ISO 8601). `datetime`: an instant (RFC 3339). `list`: different strings.",
    ),
]
"""A CHECK constraint of `public.contact_properties` lists the same values; a test compares the two."""


@dataclass(frozen=True, slots=True)
class ProfileField:
    """A built-in field of a contact.

    Attributes:
        column: column of `public.contacts`.
        type: type of the value.
        writable: whether members and their systems set it by the API.
        importable: whether a file may set it.
    """

    column: str
    type: ValueType
    writable: bool = True
    importable: bool = True


_WRITABLE: dict[str, ValueType] = {
    "external_id": "text",
    "email": "text",
    "phone": "text",
    "name": "text",
    "locale": "text",
    "country": "text",
    "city": "text",
    "birth_date": "date",
    "lat": "number",
    "lon": "number",
    "tags": "list",
    "source": "text",
}
_READ_ONLY: dict[str, ValueType] = {
    "created_at": "datetime",
    "updated_at": "datetime",
    "first_seen_at": "datetime",
    "last_seen_at": "datetime",
    "opted_out_at": "datetime",
}

FIELDS: Mapping[str, ProfileField] = MappingProxyType(
    {name: ProfileField(name, kind) for name, kind in _WRITABLE.items()}
    | {name: ProfileField(name, kind, writable=False, importable=False) for name, kind in _READ_ONLY.items()}
)
"""Built-in fields by name. `opted_out_at` is only ever set: the person told the brand, or its CRM, to stop."""


def check(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored form of writable fields by name. None removes a value.

    Raises:
        Invalid: names each field that does not exist or is read-only, and each value that does not fit.
    """
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, given in values.items():
        try:
            found[name] = normalise(name, given)
        except ValueError as error:
            errors.append(FieldError(name, error.args[0]))
    if errors:
        raise Invalid(errors=errors)
    return found


def normalise(name: str, given: Any) -> Any:
    """Return the stored form of a value of a writable field; None, and an empty list of tags, for no value.

    Raises:
        ValueError: the field can't be written, or the value does not fit; the argument is the reason for callers.
    """
    if name not in _WRITABLE:
        raise ValueError("is not a field that can be set")
    if given is None:
        return [] if name == "tags" else None
    return _NORMALISE[name](given)


def _line(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("must be a text with a visible character")
    return texts.line(given)


def _email(given: Any) -> str:
    return emails.canonical(_line(given))


def _phone(given: Any) -> str:
    try:
        number = phonenumbers.parse(_line(given), None)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or number.extension or not phonenumbers.is_valid_number(number):
        raise ValueError("must be + and the number with its country code, such as +34600000000")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _locale(given: Any) -> str:
    return texts.locale(_line(given))


def _country(given: Any) -> str:
    code = _line(given).upper()
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country code (ISO 3166-1 alpha-2), such as ES")
    return code


def _birth_date(given: Any) -> date:
    try:
        found = given if isinstance(given, date) else date.fromisoformat(given)
    except (TypeError, ValueError):
        raise ValueError("must be a date, such as 2026-12-31") from None
    if not FIRST_BIRTH <= found <= datetime.now(UTC).date():
        raise ValueError(Message("must be a date from {first} to today", first=FIRST_BIRTH.isoformat()))
    return found


def _within(limit: int) -> Callable[[Any], float]:
    def normalised(given: Any) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float) or not -limit <= given <= limit:
            raise ValueError(Message("must be a number from -{most} to {most}", most=limit))
        return float(given)

    return normalised


def _tags(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise ValueError("must be a list of texts")
    if len(given) > MAX_TAGS:
        raise ValueError(Message("must have at most {most} values", most=MAX_TAGS))
    found = list(dict.fromkeys(_line(one) for one in given))
    if any(len(one) > MAX_TAG for one in found):
        raise ValueError(Message("each value must have at most {most} characters", most=MAX_TAG))
    return found


_NORMALISE: Mapping[str, Callable[[Any], Any]] = {
    "external_id": _line,
    "email": _email,
    "phone": _phone,
    "name": _line,
    "locale": _locale,
    "country": _country,
    "city": _line,
    "birth_date": _birth_date,
    "lat": _within(90),
    "lon": _within(180),
    "tags": _tags,
    "source": _line,
}
