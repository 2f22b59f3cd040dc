"""Points in time, as requests and answers say them."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from models.core.errors import Invalid

Instant = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339.", examples=["2026-11-22T18:30:00Z"])]
"""With its offset from UTC: without one, the document has no `format` for it, and a request no meaning."""


def in_utc(field: str, at: datetime | None) -> datetime | None:
    """An instant in the time zone that it is compared in.

    Raises:
        Invalid: it is beyond what can be told there.
    """
    try:
        return at and at.astimezone(UTC)
    except OverflowError:
        raise Invalid(field, "beyond the years 1 to 9999 in UTC") from None
