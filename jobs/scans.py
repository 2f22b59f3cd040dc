"""What happens to a scan after it has been decided."""

from datetime import timedelta
from uuid import UUID

from jobs.engine import actor
from models import fraud, scans
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
        enqueue("contact.upsert", scan.user_id, unique="while_waiting")
    hour = hour_of(scan.case.scanned_at).isoformat()
    enqueue("overview.refresh", scan.campaign_id, hour, unique="while_waiting", delay=REFRESH_DELAY)
