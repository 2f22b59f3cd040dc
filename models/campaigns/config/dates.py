"""Bounds of the dates of a campaign."""

from datetime import UTC, datetime

from models.core.messages import Message

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of every date of a campaign: from `EARLIEST` on, before `LATEST`."""

OUT_OF_RANGE = Message("must be from {first} on and before {last}", first=EARLIEST.year, last=LATEST.year)
"""Reason for a date outside of the bounds."""
