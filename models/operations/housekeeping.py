"""Delete expired rows of `core`, `jobs` and `operations`: stored answers, ended jobs, stale heartbeats.

Other domains delete their own rows.
"""

from datetime import timedelta

from models.core.database import execute, rows
from models.jobs import groups

KEEP_ANSWERS = timedelta(days=1)
"""Retention of answers stored for `Idempotency-Key`."""
KEEP_DONE = timedelta(days=30)
"""Retention of finished jobs, groups and occurrences of schedules."""
KEEP_DEAD = timedelta(days=365)
"""Retention of dead letters."""
KEEP_SILENT = timedelta(days=1)
"""Retention of the last heartbeat of a process."""
DAYS_AHEAD = 14
"""Daily partitions of the job history that are created ahead."""


def expire_answers() -> int:
    """Delete the answers stored for `Idempotency-Key` that are older than `KEEP_ANSWERS`. Return their number.

    The body of an answer with secrets is deleted after `secret_until`. The row with the key stays for `KEEP_ANSWERS`:
    without it, a repeated request would create a second record.
    """
    execute("UPDATE app.idempotency_keys SET body = NULL WHERE secret_until <= now() AND body IS NOT NULL")
    return execute("DELETE FROM app.idempotency_keys WHERE created_at < now() - %s", (KEEP_ANSWERS,))


def prune_jobs() -> list[str]:
    """Drop the daily partitions of the job history older than `KEEP_DONE` and create the next ones.

    Delete groups that finished more than `KEEP_DONE` ago, dead letters older than `KEEP_DEAD`, and expired unique keys
    of jobs. Delete occurrences of schedules older than `KEEP_DONE`, except the newest of each schedule, and processes
    without a heartbeat for `KEEP_SILENT`.
    Return the names of the dropped partitions.
    """
    groups.prune(KEEP_DONE)
    execute("DELETE FROM app.dead_jobs WHERE finished_at < now() - %s", (KEEP_DEAD,))
    execute("DELETE FROM app.job_keys WHERE expires_at < now()")
    execute(
        "DELETE FROM app.schedule_occurrences o WHERE due_at < now() - %s"
        " AND due_at < (SELECT max(due_at) FROM app.schedule_occurrences n WHERE n.schedule = o.schedule)",
        (KEEP_DONE,),
    )
    execute("DELETE FROM app.heartbeats WHERE at < now() - %s", (KEEP_SILENT,))
    dropped = rows("SELECT name FROM app.rotate_job_history(%s, %s) AS name", (DAYS_AHEAD, KEEP_DONE))
    return [partition["name"] for partition in dropped]
