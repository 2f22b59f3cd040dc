"""The clock: enqueues the jobs of schedules when they are due. `python -m schedules.clock` is the process.

An occurrence is one row keyed by (schedule, due time), so several clocks may run. Each tick enqueues the occurrences
that are missing by the schedule's catch-up policy, so the next tick makes up for one that failed or was late.
"""

import logging
import threading
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

import jobs.actors  # noqa: F401  (declares the actors)
from jobs.engine import process
from jobs.engine.heartbeat import EVERY, Heartbeat
from jobs.engine.ledger import Ledger, LedgerUnavailable
from models.core.database import new_id
from models.jobs.ledger import notify_relay
from models.operations import metrics
from schedules.check import require_runnable
from schedules.kinds import Schedule
from schedules.table import SCHEDULES

log = logging.getLogger(__name__)

HEARTBEAT = "clock.beat"
COUNTS = "clock.counts"
"""Jobs of APScheduler that are too frequent for stored occurrences."""


def enqueue_missing(ledger: Ledger, schedule: Schedule, moment: datetime) -> int:
    """Enqueue the occurrences of a schedule that are missing at `moment`. Return their number."""
    enqueued = 0
    for due_at in schedule.missed(ledger.last_occurrence(schedule.do), moment):
        enqueued += ledger.enqueue_occurrence(schedule.do, due_at, new_id(), schedule.do)
    if enqueued:
        notify_relay()
    return enqueued


def tick(ledger: Ledger, schedule: Schedule) -> None:
    """Enqueue the missing occurrences now. If the database is out of reach, the next tick does."""
    try:
        enqueue_missing(ledger, schedule, datetime.now(UTC))
    except LedgerUnavailable as error:
        log.warning("%s was not enqueued: %s", schedule.do, error)


def beat(heartbeat: Heartbeat) -> None:
    """Record a heartbeat of this clock."""
    try:
        heartbeat.beat()
    except LedgerUnavailable as error:
        log.warning("the heartbeat was not recorded: %s", error)


def count(ledger: Ledger) -> None:
    """Refresh the counts of jobs for the metrics."""
    try:
        ledger.count_jobs()
    except LedgerUnavailable as error:
        log.warning("the jobs were not counted: %s", error)


def make_scheduler(ledger: Ledger) -> BackgroundScheduler:
    """Return an APScheduler with one job for each row of the table."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True})
    for schedule in SCHEDULES:
        scheduler.add_job(tick, schedule.trigger(), args=[ledger, schedule], id=schedule.do)
    beats = {"seconds": EVERY, "next_run_time": datetime.now(UTC)}
    scheduler.add_job(beat, "interval", args=[Heartbeat("clock", ledger)], id=HEARTBEAT, **beats)
    # On a connection of its own: counting many waiting jobs is slow and would delay ticks.
    every = metrics.COUNT_INTERVAL.total_seconds()
    scheduler.add_job(count, "interval", seconds=every, args=[Ledger()], id=COUNTS)
    return scheduler


def run(ledger: Ledger, stopping: threading.Event) -> None:
    """Enqueue occurrences that were due while no clock ran, then each when it is due, until `stopping` is set."""
    for schedule in SCHEDULES:
        if stopping.is_set():
            return
        tick(ledger, schedule)
    scheduler = make_scheduler(ledger)
    scheduler.start()
    stopping.wait()
    scheduler.shutdown(wait=False)


def main() -> None:
    """Run the `clock` process.

    Raises:
        TypeError: the job of a schedule could not run.
    """
    require_runnable(SCHEDULES)
    run(Ledger(), process.begin("clock"))


if __name__ == "__main__":
    main()
