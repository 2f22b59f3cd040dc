"""Date-times in requests and answers."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from models.core.errors import Invalid, check_all

Instant = Annotated[
    datetime,
    msgspec.Meta(
        tz=True, description="Date and time with the offset from UTC (RFC 3339).", examples=["2026-11-22T18:30:00Z"]
    ),
]
"""Date-time with its offset from UTC. Without an offset it has no `format` in the document and is ambiguous."""


def period_in_utc(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Convert the parameters `from` and `to` to UTC.

    Raises:
        Invalid: a date-time is outside the years 1 to 9999 in UTC; names each of them.
    """
    check_all(lambda: in_utc("from", since), lambda: in_utc("to", until))
    return in_utc("from", since), in_utc("to", until)


def in_utc(field: str, at: datetime | None) -> datetime | None:
    """Convert a date-time to UTC.

    Raises:
        Invalid: the date-time is outside the years 1 to 9999 in UTC.
    """
    try:
        return at and at.astimezone(UTC)
    except OverflowError:
        raise Invalid(field, "must be within the years 1 to 9999 in UTC") from None
