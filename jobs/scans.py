"""Actors of the domain scans: score scans, rescore affected ones, and delete old counters."""

from datetime import date, timedelta
from uuid import UUID

from jobs.engine import actor
from models.campaigns import rewards
from models.insights.overview import hour_of
from models.jobs.ledger import enqueue
from models.scans import fraud, limit_counters, refusal_counts, scoring

REFRESH_DELAY = timedelta(milliseconds=300)
"""Delay of an overview refresh, so that it includes other changes of the same hour."""

RESCORE_DELAY = timedelta(seconds=1)
"""Delay of a rescoring, so that it includes other scans that arrive late or out of order."""


@actor("scan.score", queue="scans", max_attempts=8, time_limit=10.0)
def score_scan(scan_id: UUID) -> None:
    """Score a scan for fraud. Its first scoring enqueues the rescoring of the scans that it affects."""
    is_first = scoring.begin_scoring(scan_id)
    for scan in scoring.load_with_history([scan_id]):
        _score(scan)
        if is_first:
            _rescore_affected(scan)


@actor("scan.rescore", queue="scans", max_attempts=8, time_limit=60.0)
def rescore_scans(subject: scoring.Subject, subject_id: UUID, day: date) -> None:
    """Rescore the scans that a scan of this device or person on this day (UTC) can affect."""
    for scan in scoring.load_with_history(scoring.begin_rescoring(subject, subject_id, day)):
        _score(scan)


def _score(scan: scoring.ScanCase) -> None:
    """Score a locked scan. If its score has changed, enqueue the jobs that depend on it."""
    if not scoring.apply_score(scan.id, fraud.score(scan.case)):
        return
    if scan.accepted:
        enqueue("contact.upsert", scan.user_id, unique="while_waiting")
        if scan.has_rewards:
            rewards.enqueue_settle(scan.id)
    hour = hour_of(scan.case.scanned_at).isoformat()
    enqueue("overview.refresh", scan.campaign_id, hour, unique="while_waiting", delay=REFRESH_DELAY)


def _rescore_affected(scan: scoring.ScanCase) -> None:
    affected = scoring.find_affected(scan)
    for subject, subject_id in affected.subjects:
        args = (subject, subject_id, affected.day.isoformat())
        enqueue("scan.rescore", *args, unique="while_waiting", delay=RESCORE_DELAY, subject=(subject, subject_id))
    for scan_id in affected.scan_ids:
        enqueue("scan.score", scan_id, unique="while_waiting")


@actor("scans.merge_refusals", runs_as="system")
def merge_refusals() -> None:
    """Merge the counts of refused scans of each past hour, and delete old counts."""
    refusal_counts.merge()


@actor("limit_counters.expire", runs_as="system", time_limit=300.0)
def expire_limit_counters() -> None:
    """Delete the limit counters of past windows."""
    limit_counters.expire()
