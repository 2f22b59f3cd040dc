"""What is kept for a while and then let go: answers to repeated requests, and the history of jobs."""

from datetime import timedelta

from models.db import execute

KEEP_ANSWERS = timedelta(days=1)
KEEP_DONE = timedelta(days=30)
KEEP_DEAD = timedelta(days=365)


def expire_answers() -> int:
    """Forget the answers kept for `Idempotency-Key` that are older than `KEEP_ANSWERS`; how many."""
    return execute("DELETE FROM app.idempotency_keys WHERE created_at < now() - %s", (KEEP_ANSWERS,))


def prune_jobs() -> int:
    """Forget finished jobs after `KEEP_DONE`, and dead letters after `KEEP_DEAD`; how many."""
    return execute(
        "DELETE FROM app.job_history WHERE finished_at < now() - %s AND (state <> 'dead' OR finished_at < now() - %s)",
        (KEEP_DONE, KEEP_DEAD),
    )
