"""Convert the cells of a row to the values of a contact's fields."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import phonenumbers

from models.core import emails, texts
from models.core.enumerations import enumeration

ValueFault = Annotated[
    Literal[
        "bad_email", "bad_phone", "bad_number", "bad_boolean", "bad_date", "bad_datetime", "bad_text", "bad_country",
        "bad_locale", "out_of_range", "too_long", "too_many_values", "bad_choice", "bad_id",
    ],
    enumeration(
        "ImportValueFault",
        "Reason why a cell can't be imported. `bad_email`, `bad_phone`, `bad_number`, `bad_boolean`, `bad_date`, "
        "`bad_datetime`, `bad_country`, `bad_locale`: it does not have this type. `bad_text`: it contains control "
        "characters or nothing visible. `out_of_range`: a number or date is outside the field's range. `too_long`: a "
        "text has more than 1,000 characters, or more than the field allows. `too_many_values`: a list has more than "
        "100. `bad_choice`: the property has no such option. `bad_id`: it is no id of a contact.",
    ),
]  # fmt: skip

MAX_TEXT = 1000
MAX_VALUES = 100
MAX_VALUE = 100

_TRUE = frozenset({"true", "t", "yes", "y", "1", "si", "s", "verdadero", "x", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "falso", "off"})
_SIMPLE_EMAIL = re.compile(
    r"[a-z0-9][a-z0-9_+-]*(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}"
)
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,25})?(?:[eE][+-]?\d{1,3})?")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?")
_LOCAL_DATE = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
_UNSAFE = re.compile(f"[{texts.UNSAFE}]")
_SEPARATOR = re.compile(r"(?<!\\)((?:\\\\)*)[|,;]")


class BadValue(Exception):
    """The cell can't be imported; `reason` says why."""

    def __init__(self, reason: ValueFault) -> None:
        super().__init__(reason)
        self.reason: ValueFault = reason


@dataclass(frozen=True, slots=True)
class Conventions:
    """Conventions of a file for its values.

    Attributes:
        region: country of phone numbers without a country code (ISO 3166-1 alpha-2); None refuses them.
        day_first: whether 3/4/2026 is 3 April.
        decimal_comma: whether 1,5 is a number.
    """

    region: str | None = None
    day_first: bool = True
    decimal_comma: bool = False


Cleaner = Callable[[Any, Conventions], Any]


def cleaner_of(field: str, kind: str) -> Cleaner:
    """Return the function that converts a cell that is not empty to a value of the field. It raises `BadValue`."""
    return _BY_FIELD.get(field) or _BY_TYPE[kind]


def is_empty(cell: Any) -> bool:
    """Return whether a cell has no value."""
    return cell is None or cell == [] or (isinstance(cell, str) and (not cell or cell.isspace()))


def unescape_formula(text: str) -> str:
    """Remove the apostrophe that `writing` puts before a text that a spreadsheet would run as a formula."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text.lstrip("'")) else text


FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""First characters of formulas (OWASP, CSV injection)."""


def split_list(text: str) -> list[str]:
    r"""Return the values of a list in a cell: separated by `|`, `,` or `;`. A backslash keeps the next character."""
    marked = _SEPARATOR.sub("\\1\0", text)
    return [re.sub(r"\\(.)", r"\1", part).strip() for part in marked.split("\0")]


def join_list(values: list[str]) -> str:
    r"""Return a list as one cell, from which `split_list` reads the same values."""
    return "|".join(re.sub(r"([\\|,;])", r"\\\1", value) for value in values)


def _text(cell: Any, _: Conventions) -> str:
    if isinstance(cell, bool | list | dict):
        raise BadValue("bad_text")
    text = str(cell)
    if len(text) > MAX_TEXT:
        raise BadValue("too_long")
    # Line ends are allowed: a text in a spreadsheet's cell may have several lines.
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not text.isprintable() and _UNSAFE.search(text.replace("\n", "").replace("\t", "")):
        raise BadValue("bad_text")
    return text


def _line(cell: Any, conventions: Conventions) -> str:
    # Nearly every cell: the complete check takes 60 µs.
    if isinstance(cell, str) and _is_plain_line(cell):
        return cell
    try:
        return texts.line(" ".join(_text(cell, conventions).split()))
    except ValueError:
        raise BadValue("too_long" if len(str(cell)) > texts.MAX_LINE_CHARACTERS else "bad_text") from None


def _is_plain_line(text: str) -> bool:
    """Report whether a text is certainly in the form of `texts.line`: it begins with a Latin letter or a digit."""
    return (
        len(text) <= texts.MAX_LINE_CHARACTERS
        and text[:1].isalnum()
        and text[0] < "\u0250"
        and text.isprintable()
        and text[-1] != " "
        and "  " not in text
        and unicodedata.is_normalized("NFC", text)
    )


def _email(cell: Any, _: Conventions) -> str:
    text = str(cell).strip().lower().removeprefix("mailto:")
    # The check of the library takes 50 µs; this expression accepts nothing that the library refuses.
    if len(text) <= 64 and _SIMPLE_EMAIL.fullmatch(text):
        domain = text.rpartition(".")[2]
        if domain not in _SPECIAL and "xn--" not in text:
            return text
    try:
        return emails.canonical(text)
    except ValueError:
        raise BadValue("bad_email") from None


_SPECIAL = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test", "example"})
"""Top-level domains that the library decides on."""


def _phone(cell: Any, conventions: Conventions) -> str:
    return _e164(str(cell).strip(), conventions.region)


@lru_cache(maxsize=10_000)
def _e164(text: str, region: str | None) -> str:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise BadValue("bad_phone") from None
    if number.extension or not phonenumbers.is_valid_number(number):
        raise BadValue("bad_phone")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _number(cell: Any, conventions: Conventions) -> float | int:
    if isinstance(cell, bool):
        raise BadValue("bad_number")
    if isinstance(cell, int | float):
        return _in_range(cell)
    text = str(cell).strip()
    if conventions.decimal_comma:
        if "." in text:
            raise BadValue("bad_number")
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        raise BadValue("bad_number")
    return _in_range(float(text) if any(one in text for one in ".eE") else int(text))


def _in_range(number: float | int) -> float | int:
    if not -1e15 <= number <= 1e15:
        raise BadValue("out_of_range")
    # A number has one form, so that 1.0 in a file does not change 1.
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _within(limit: float) -> Cleaner:
    def clean(cell: Any, conventions: Conventions) -> float:
        number = float(_number(cell, conventions))
        if not -limit <= number <= limit:
            raise BadValue("out_of_range")
        return number

    return clean


def _boolean(cell: Any, _: Conventions) -> bool:
    if isinstance(cell, bool):
        return cell
    word = texts.folded(str(cell))
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValue("bad_boolean")


def _date(cell: Any, conventions: Conventions) -> str:
    text = str(cell).strip()
    if found := _DATE.fullmatch(text):
        year, month, day = found.groups()
    elif found := _LOCAL_DATE.fullmatch(text):
        first, second, year = found.groups()
        day, month = (first, second) if conventions.day_first else (second, first)
    else:
        raise BadValue("bad_date")
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        raise BadValue("bad_date") from None


def _birth_date(cell: Any, conventions: Conventions) -> str:
    found = _date(cell, conventions)
    if not "1900-01-01" <= found <= datetime.now(UTC).date().isoformat():
        raise BadValue("out_of_range")
    return found


def _datetime(cell: Any, conventions: Conventions) -> str:
    text = str(cell).strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(_date(text, conventions))
        except BadValue:
            raise BadValue("bad_datetime") from None
    # A time without a zone is UTC.
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    return found.isoformat().replace("+00:00", "Z")


def _country(cell: Any, _: Conventions) -> str:
    code = str(cell).strip().upper()
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise BadValue("bad_country")
    return code


def _locale(cell: Any, _: Conventions) -> str:
    tag = texts.locale_or_none(str(cell).strip())
    if tag is None or tag == texts.UNDETERMINED:
        raise BadValue("bad_locale")
    return tag


def _list(cell: Any, conventions: Conventions) -> list[str]:
    parts = cell if isinstance(cell, list) else split_list(str(cell))
    if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        raise BadValue("bad_text")
    values = list(dict.fromkeys(_line(part, conventions) for part in parts if not is_empty(part)))
    if len(values) > MAX_VALUES:
        raise BadValue("too_many_values")
    if any(len(value) > MAX_VALUE for value in values):
        raise BadValue("too_long")
    return values


def _id(cell: Any, _: Conventions) -> str:
    try:
        return str(UUID(str(cell).strip()))
    except ValueError:
        raise BadValue("bad_id") from None


_BY_TYPE: Mapping[str, Cleaner] = {
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "list": _list,
}
_BY_FIELD: Mapping[str, Cleaner] = {
    "companon_id": _id,
    "email": _email,
    "phone": _phone,
    "external_id": _line,
    "name": _line,
    "city": _line,
    "source": _line,
    "locale": _locale,
    "country": _country,
    "birth_date": _birth_date,
    "lat": _within(90),
    "lon": _within(180),
    "consent.marketing": _boolean,
}
