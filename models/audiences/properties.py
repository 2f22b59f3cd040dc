"""Custom properties of contacts: declared by each brand with a type, and checked on every write."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.audiences.profile import ValueType
from models.core import context, texts
from models.core.database import Row, now, value
from models.core.errors import Conflict, FieldError, Invalid, Members, NotFound
from models.core.messages import Message

MAX_DECLARED = 100
"""Maximum number of properties of a brand, including archived ones."""
MAX_TEXT = 1000
"""Maximum number of characters of a text."""
MAX_VALUES = 100
"""Maximum number of values of a list, and of options."""
MAX_VALUE = 100
"""Maximum number of characters of a value of a list, and of an option."""
MAX_NUMBER = 10**15
"""Greatest number. JSON readers with binary floating point keep all integers up to it."""
WITH_OPTIONS = ("text", "list")
"""Types whose values can be restricted to options."""


class PropertyExists(Conflict):
    """The brand has declared a property with this key."""

    code = "property_exists"


class TooManyProperties(Conflict):
    """The brand has declared the maximum number of properties."""

    code = "too_many_properties"


class PropertyInUseMembers(Members):
    """The contacts with a value."""

    contacts: Annotated[
        int, msgspec.Meta(description="Number of contacts with a value that does not fit the change.", examples=[12])
    ]


class PropertyInUse(Conflict):
    """Contacts have values that would not fit the new type or the new options; nothing was changed."""

    code = "property_in_use"
    members = PropertyInUseMembers


@dataclass(frozen=True, slots=True)
class Property:
    """A declared property. `options` None: any value of the type."""

    key: str
    type: ValueType
    label: str
    options: Sequence[str] | None = None
    archived: bool = False


class ContactProperty(Row):
    """A property that a brand has declared."""

    brand_id = peewee.UUIDField()
    key = peewee.TextField()
    type = peewee.TextField()
    label = peewee.TextField()
    options = ArrayField(peewee.TextField, index=False, null=True)  # type: ignore[no-untyped-call]
    version = peewee.IntegerField()
    created_at = DateTimeTZField()
    archived_at = DateTimeTZField(null=True)

    class Meta:
        """Name and key of the table."""

        table_name = "contact_properties"
        primary_key = peewee.CompositeKey("brand_id", "key")


def declared(brand_id: UUID) -> dict[str, Property]:
    """Return the properties of a brand by key, also the archived ones."""
    return {
        one.key: Property(one.key, cast(ValueType, one.type), one.label, one.options, one.archived_at is not None)
        for one in ContactProperty.select().where(ContactProperty.brand_id == brand_id).order_by(ContactProperty.key)
    }


def check(values: Mapping[str, Any], known: Mapping[str, Property]) -> dict[str, Any]:
    """Return the stored form of values of properties by key. None removes a value.

    Args:
        values: values by key.
        known: the declared properties of the brand.

    Raises:
        Invalid: names each unknown or archived property as `properties.<key>`, and each value that does not fit.
    """
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for key, given in values.items():
        declaration = known.get(key)
        try:
            if declaration is None or declaration.archived:
                raise ValueError("is not a declared property of contacts")
            found[key] = None if given is None else normalise(declaration, given)
        except ValueError as error:
            errors.append(FieldError(f"properties.{key}", error.args[0]))
    if errors:
        raise Invalid(errors=errors)
    return found


def normalise(declaration: Property, given: Any) -> Any:
    """Return the stored form of a value of a property.

    Raises:
        ValueError: the value does not fit the type or the options; the argument is the reason for callers.
    """
    found = _BY_TYPE[declaration.type](given)
    options = declaration.options
    if options is not None and not set(found if isinstance(found, list) else [found]) <= set(options):
        raise ValueError(Message("must be one of: {options}", options=", ".join(options)))
    return found


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError("must be a text with a visible character")
    if len(given) > MAX_TEXT:
        raise ValueError(Message("must have at most {most} characters", most=MAX_TEXT))
    if "\x00" in given:
        raise ValueError("must not contain control characters, line breaks or text direction controls")
    return given.strip()


def _number(given: Any) -> int | float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not -MAX_NUMBER <= given <= MAX_NUMBER:
        raise ValueError(Message("must be a number from -{most} to {most}", most=MAX_NUMBER))
    # One form of each number: 1.0 and 1 are the same value.
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _boolean(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError("must be true or false")
    return given


def _date(given: Any) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except (TypeError, ValueError):
        raise ValueError("must be a date, such as 2026-12-31") from None


def _datetime(given: Any) -> str:
    try:
        found = datetime.fromisoformat(given)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a time with a time zone, such as 2026-12-31T12:00:00Z") from None


def _list(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("must be a list of texts")
    if len(given) > MAX_VALUES:
        raise ValueError(Message("must have at most {most} values", most=MAX_VALUES))
    found = list(dict.fromkeys(texts.line(one) for one in given))
    if any(len(one) > MAX_VALUE for one in found):
        raise ValueError(Message("each value must have at most {most} characters", most=MAX_VALUE))
    return found


_BY_TYPE: Mapping[ValueType, Callable[[Any], Any]] = {
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "list": _list,
}


def find() -> list[ContactProperty]:
    """Return the properties of the caller's brand, ordered by key."""
    return list(ContactProperty.select().order_by(ContactProperty.key))


def get(key: str) -> ContactProperty:
    """Return a property of the caller's brand.

    Raises:
        NotFound: the brand has declared no such property.
    """
    found: ContactProperty | None = ContactProperty.get_or_none(ContactProperty.key == key)
    if found is None:
        raise NotFound
    return found


def declare(key: str, kind: ValueType, label: str, options: Sequence[str] | None = None) -> ContactProperty:
    """Declare a property of the caller's brand.

    Raises:
        Invalid: the type has no options, or an option does not fit.
        PropertyExists: the brand has declared the key, also if that property is archived.
        TooManyProperties: the brand has declared `MAX_DECLARED` properties.
    """
    brand_id = _lock()
    if ContactProperty.get_or_none(ContactProperty.key == key) is not None:
        raise PropertyExists
    if ContactProperty.select().count() >= MAX_DECLARED:
        raise TooManyProperties(Message("A brand declares at most {most} properties.", most=MAX_DECLARED))
    new = {"brand_id": brand_id, "key": key, "type": kind, "label": label}
    ContactProperty.insert(**new, options=_options(kind, options)).execute()
    return get(key)


_KEY = re.compile("[a-z][a-z0-9_]{0,49}")


def declare_found(key: str, kind: ValueType) -> Property:
    """Declare a property that another system of the job's brand has, with its key as the label.

    Raises:
        ValueError: the key does not fit, or the brand has declared `MAX_DECLARED` properties.
    """
    brand_id = _lock()
    if not _KEY.fullmatch(key) or ContactProperty.select().count() >= MAX_DECLARED:
        raise ValueError("is not a declared property of contacts")
    ContactProperty.insert(brand_id=brand_id, key=key, type=kind, label=key).on_conflict_ignore().execute()
    return declared(brand_id)[key]


def change(
    key: str,
    *,
    kind: ValueType,
    label: str,
    options: Sequence[str] | None,
    archived: bool,
) -> ContactProperty:
    """Change a property of the caller's brand that `get_for_update` has returned.

    Contacts keep their values of an archived property; they can't be set until it is restored.

    Raises:
        Invalid: the type has no options, or an option does not fit.
        PropertyInUse: contacts have values of another type, or outside the options.
    """
    before = get(key)
    wanted = _options(kind, options)
    if (kind, wanted) != (before.type, before.options):
        _require_fitting(before, kind, wanted)
    archived_at = (before.archived_at or now()) if archived else None
    ContactProperty.update(
        type=kind, label=label, options=wanted, archived_at=archived_at, version=ContactProperty.version + 1
    ).where(ContactProperty.key == key).execute()
    return get(key)


def get_for_update(key: str) -> ContactProperty:
    """Lock the properties of the caller's brand, and return one.

    Raises:
        NotFound: the brand has declared no such property.
    """
    _lock()
    return get(key)


def _lock() -> UUID:
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    value("SELECT app.lock_contact_properties()")
    return identity.brand_id


def _options(kind: ValueType, options: Sequence[str] | None) -> list[str] | None:
    if options is None:
        return None
    if kind not in WITH_OPTIONS:
        raise Invalid("options", "only texts and lists have options")
    try:
        found = _list(list(options))
    except ValueError as error:
        raise Invalid("options", error.args[0]) from None
    if not found:
        raise Invalid("options", "must have at least one value")
    return found


_MISFITS = """
SELECT count(*) FROM public.contacts c
WHERE c.properties ? %s AND (%s OR EXISTS (
    SELECT FROM jsonb_array_elements_text(CASE jsonb_typeof(c.properties -> %s)
        WHEN 'array' THEN c.properties -> %s ELSE jsonb_build_array(c.properties -> %s) END) one
    WHERE one <> ALL (%s::text[])))
"""


def _require_fitting(before: ContactProperty, kind: ValueType, options: list[str] | None) -> None:
    """Refuse a change that a stored value does not fit."""
    if kind == before.type and options is None:
        return
    key = before.key
    contacts = value(_MISFITS, (key, kind != before.type, key, key, key, options or []))
    if contacts:
        raise PropertyInUse(
            "Contacts have values of this property that do not fit: change or remove them first.", contacts=contacts
        )
