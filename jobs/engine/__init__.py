"""The job engine. This module holds the names that the author of an actor needs.

`relay` publishes due jobs to the broker, `transports` carries their ids, `worker` claims, runs and finishes them.
`registry` lists the actors, `ledger` calls the SQL functions of the job ledger.
"""

from jobs.engine.errors import JobCancelled, RetryLater
from jobs.engine.registry import actor
from jobs.engine.worker.current import current_job, own_transaction

__all__ = ["JobCancelled", "RetryLater", "actor", "current_job", "own_transaction"]
