"""Delete the counters of scan limits (`app.limit_counters`) whose window is over."""

from datetime import timedelta

from models.core.database import execute

KEEP_WINDOWS = timedelta(days=3)
"""How long the counters of a calendar hour or day are kept: longer than any time zone differs from UTC."""


def expire_counters() -> int:
    """Delete the counters of windows older than `KEEP_WINDOWS`. Return how many.

    Limits count by the time of receipt, so no later scan reads them. Counters of a campaign's lifetime stay.
    """
    return execute(
        "DELETE FROM app.limit_counters"
        " WHERE bucket <> 'lifetime' AND left(bucket, 10) < to_char(now() - %s, 'YYYY-MM-DD')",
        (KEEP_WINDOWS,),
    )
