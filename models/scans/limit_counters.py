"""Delete limit counters (`app.limit_counters`) of past windows."""

from datetime import timedelta

from models.core.database import execute

KEEP_WINDOWS = timedelta(days=3)
"""Retention of the counters of a calendar hour or day; longer than any time zone differs from UTC."""


def expire() -> int:
    """Delete the counters of windows older than `KEEP_WINDOWS`. Return their number.

    Limits count by the time of receipt, so no later scan reads them. Counters of a campaign's lifetime stay.
    """
    return execute(
        "DELETE FROM app.limit_counters"
        " WHERE bucket <> 'lifetime' AND left(bucket, 10) < to_char(now() - %s, 'YYYY-MM-DD')",
        (KEEP_WINDOWS,),
    )
