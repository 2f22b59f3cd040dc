"""The job engine: what an actor's author needs."""

from jobs.engine.errors import JobCancelled, RetryLater
from jobs.engine.registry import actor
from jobs.engine.worker.current import current_job, own_transaction

__all__ = ["JobCancelled", "RetryLater", "actor", "current_job", "own_transaction"]
