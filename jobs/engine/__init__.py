"""The job engine: what an actor's author needs."""

from jobs.engine.current import current_job, own_transaction
from jobs.engine.errors import JobCancelled, RetryLater
from jobs.engine.registry import actor

__all__ = ["JobCancelled", "RetryLater", "actor", "current_job", "own_transaction"]
