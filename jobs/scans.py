"""What happens to a scan after it has been decided."""

from datetime import timedelta
from uuid import UUID

from jobs.engine import actor
from models import context, fraud, scans
from models.jobs import enqueue
from models.overview import hour_of

REFRESH_DELAY = timedelta(milliseconds=300)
"""How long a changed count waits for others to change with it."""


@actor("scan.score", queue="scans", max_attempts=8, time_limit=10.0)
def score_scan(scan_id: UUID) -> None:
    """Score one scan for fraud and bring what is counted up to date with it."""
    scan = scans.with_history(scan_id)
    score = fraud.score(scan.case)
    scans.apply(scan_id, score)
    if scan.accepted:
        _upsert_contact(scan.user_id)
    hour = hour_of(scan.case.scanned_at).isoformat()
    enqueue("overview.refresh", scan.campaign_id, hour, unique="while_waiting", delay=REFRESH_DELAY)


def _upsert_contact(user_id: UUID) -> None:
    identity = context.current()
    assert identity is not None
    # A person may be a contact of several brands, and each brand's job has to run.
    key = f"contact.upsert:{identity.brand_id}:{user_id}"
    enqueue("contact.upsert", user_id, unique="while_waiting", unique_key=key)
