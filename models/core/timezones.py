"""Time zones: the list for profiles, brands and campaigns."""

from functools import cache
from zoneinfo import available_timezones

from models.core.errors import Invalid
from models.core.messages import Message

UNKNOWN = Message("must be a time zone of the IANA database, such as Europe/Madrid")
"""Reason for a name that is unknown."""

_NOT_ZONES = {"Factory", "localtime", "posixrules"}
"""Entries of the time zone database whose meaning depends on the machine."""


@cache
def names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones() - _NOT_ZONES)


def known(name: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in names():
        raise ValueError(UNKNOWN)
    return name


def require(name: str, *, field: str = "timezone") -> None:
    """Refuse an unknown time zone.

    Raises:
        Invalid: the name is unknown; names the field.
    """
    if name not in names():
        raise Invalid(field, UNKNOWN)
