"""Time zones: one list for profiles, brands and campaigns."""

from functools import cache
from zoneinfo import available_timezones

from models.core.errors import Invalid

_NOT_PLACES = {"Factory", "localtime", "posixrules"}
"""In the time zone database, and still no time zones: what they mean depends on the machine."""


@cache
def known() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones() - _NOT_PLACES)


def require(name: str, *, field: str = "timezone") -> None:
    """Refuse a name that is no time zone.

    Raises:
        Invalid: names the field.
    """
    if name not in known():
        raise Invalid(field, "is not a time zone of the IANA database")
