"""What happens to a scan after it has been decided."""

from datetime import date, timedelta
from uuid import UUID

from jobs.engine import actor
from models import scans
from models.insights.overview import hour_of
from models.jobs.ledger import enqueue
from models.scans import fraud

REFRESH_DELAY = timedelta(milliseconds=300)
"""How long a changed count waits for others to change with it."""

RESCORE_DELAY = timedelta(seconds=1)
"""How long a rescoring waits for more scans that arrive late or out of order."""


@actor("scan.score", queue="scans", max_attempts=8, time_limit=10.0)
def score_scan(scan_id: UUID) -> None:
    """Score one scan for fraud. Enqueue new scores of the scans whose history it has changed."""
    is_first = scans.begin_scoring(scan_id)
    for scan in scans.with_history([scan_id]):
        _score(scan)
        if is_first:
            _rescore_followers(scan)


@actor("scan.rescore", queue="scans", max_attempts=8, time_limit=60.0)
def rescore_scans(subject: scans.Subject, subject_id: UUID, day: date) -> None:
    """Score the scans again that a scan of this device or person on this day (UTC) can have changed."""
    for scan in scans.with_history(scans.begin_rescoring(subject, subject_id, day)):
        _score(scan)


def _score(scan: scans.Scored) -> None:
    """Score a locked scan. If its score has changed, update the counts that depend on it."""
    if not scans.apply(scan.id, fraud.score(scan.case)):
        return
    if scan.accepted:
        enqueue("contact.upsert", scan.user_id, unique="while_waiting")
    hour = hour_of(scan.case.scanned_at).isoformat()
    enqueue("overview.refresh", scan.campaign_id, hour, unique="while_waiting", delay=REFRESH_DELAY)


def _rescore_followers(scan: scans.Scored) -> None:
    """Enqueue new scores of the scans whose history a new scan has changed."""
    found = scans.followers(scan)
    for subject, subject_id in found.subjects:
        args = (subject, subject_id, found.day.isoformat())
        enqueue("scan.rescore", *args, unique="while_waiting", delay=RESCORE_DELAY, subject=(subject, subject_id))
    for scan_id in found.scan_ids:
        enqueue("scan.score", scan_id, unique="while_waiting")


@actor("scans.merge_refusals", runs_as="system")
def merge_refusals() -> None:
    """Merge the counts of unstored scans by the hour."""
    scans.merge_refusals()


@actor("limit_counters.expire", runs_as="system", time_limit=300.0)
def expire_counters() -> None:
    """Delete the counters of limits whose window is over."""
    scans.expire_counters()
