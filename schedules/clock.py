"""The clock: APScheduler wakes it, the ledger decides. `python -m schedules.clock` is the process.

An occurrence is one row keyed by (schedule, due time), so any number of clocks may run. Each tick enqueues whatever
the schedule's catch-up policy says is missing, so a tick that failed or was slept through is made up by the next.
"""

import logging
import threading
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from jobs.engine import process
from jobs.engine.heartbeat import EVERY, Heartbeat
from jobs.engine.ledger import Ledger, LedgerUnavailable
from models.core.database import new_id
from models.jobs import ledger as jobs
from models.operations import metrics
from schedules.kinds import Schedule
from schedules.table import SCHEDULES

log = logging.getLogger(__name__)

BEAT = "clock.beat"
COUNTS = "clock.counts"
"""APScheduler's own jobs beside those of the table: what happens too often to be an occurrence that is kept."""


def propose(ledger: Ledger, schedule: Schedule, moment: datetime) -> int:
    """Enqueue what is missing of a schedule at `moment`; how many occurrences that was."""
    enqueued = 0
    for due_at in schedule.missed(ledger.last_occurrence(schedule.do), moment):
        enqueued += ledger.enqueue_occurrence(schedule.do, due_at, new_id(), schedule.do)
    if enqueued:
        jobs.notify_relay()
    return enqueued


def tick(ledger: Ledger, schedule: Schedule) -> None:
    """Propose what is due now. A database that is gone is no reason to stop: the next tick makes up for it."""
    try:
        propose(ledger, schedule, datetime.now(UTC))
    except LedgerUnavailable as error:
        log.warning("%s was not enqueued: %s", schedule.do, error)


def beat(heartbeat: Heartbeat) -> None:
    """Show that this clock is going."""
    try:
        heartbeat.beat()
    except LedgerUnavailable as error:
        log.warning("no sign of life could be given: %s", error)


def count(ledger: Ledger) -> None:
    """Have the jobs counted, for whoever reads the measures."""
    try:
        ledger.count_jobs()
    except LedgerUnavailable as error:
        log.warning("the jobs were not counted: %s", error)


def make_scheduler(ledger: Ledger) -> BackgroundScheduler:
    """APScheduler with one job for each row of the table."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True})
    for schedule in SCHEDULES:
        scheduler.add_job(tick, schedule.trigger(), args=[ledger, schedule], id=schedule.do)
    scheduler.add_job(beat, "interval", seconds=EVERY, args=[Heartbeat("clock", ledger)], id=BEAT)
    # On a connection of its own: where many jobs wait it takes a while, and ticks don't.
    every = metrics.COUNT_INTERVAL.total_seconds()
    scheduler.add_job(count, "interval", seconds=every, args=[Ledger()], id=COUNTS)
    return scheduler


def run(ledger: Ledger, stopping: threading.Event) -> None:
    """Propose what was due while no clock ran, and then each occurrence when it is due, until `stopping` is set."""
    for schedule in SCHEDULES:
        if stopping.is_set():
            return
        tick(ledger, schedule)
    scheduler = make_scheduler(ledger)
    scheduler.start()
    stopping.wait()
    scheduler.shutdown(wait=False)


def main() -> None:
    """The `clock` process."""
    run(Ledger(), process.begin("clock"))


if __name__ == "__main__":
    main()
