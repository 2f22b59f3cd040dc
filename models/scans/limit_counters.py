"""Limit counters (`app.limit_counters`): delete those of past windows, and notice limits that are nearly used up."""

from datetime import timedelta
from uuid import UUID

from models.core import context
from models.core.database import execute, row
from models.notifications.notifications import notify

KEEP_WINDOWS = timedelta(days=3)
"""Retention of the counters of a calendar hour or day; longer than any time zone differs from UTC."""
NEAR = 0.9
"""Share of a campaign's scans (0 to 1) from which its members are notified."""

_EXPIRE = (
    "DELETE FROM app.limit_notices WHERE bucket <> 'lifetime' AND left(bucket, 10) < to_char(now() - %s, 'YYYY-MM-DD')",
    "DELETE FROM app.limit_counters WHERE bucket <> 'lifetime'"
    " AND left(bucket, 10) < to_char(now() - %s, 'YYYY-MM-DD')",
)


def expire() -> int:
    """Delete the counters and notices of windows older than `KEEP_WINDOWS`. Return their number.

    Limits count by the time of receipt, so no later scan reads them. Counters of a campaign's lifetime stay.
    """
    return sum(execute(statement, (KEEP_WINDOWS,)) for statement in _EXPIRE)


def notify_if_near(campaign_id: UUID) -> None:
    """Notify the brand of the job once for each window in which a campaign has used `NEAR` of its limit of all scans.

    Jobs call it after scans. The scans themselves don't: they only count.
    """
    near = row("SELECT campaign, used, most FROM app.note_near_limit(%s, %s)", (campaign_id, NEAR))
    if near is None:
        return
    identity = context.current()
    assert identity is not None
    notify(
        "limit_near",
        brand_id=identity.brand_id,
        subject=("campaign", campaign_id),
        values={"campaign": near["campaign"], "used": near["used"], "limit": near["most"]},
        permission="campaigns:read",
    )
