"""The running job, as its body sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from jobs.engine.errors import JobCancelled
from jobs.engine.ledger import Claim, Ledger
from jobs.engine.worker.interrupts import interrupts
from models.core.context import Identity
from models.core.database import FLUSH, transaction


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """The current attempt of a job."""

    claim: Claim
    identity: Identity
    time_limit: float
    ledger: Ledger

    @property
    def id(self) -> UUID:
        """The job's id, the same in every attempt."""
        return self.claim.id

    @property
    def attempt(self) -> int:
        """Number of the attempt, beginning with 1."""
        return self.claim.attempts

    @property
    def idempotency_key(self) -> str:
        """Key for calls to a vendor, the same in every attempt, so that the vendor acts once."""
        return f"job-{self.claim.id}"

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Record the job's progress. It is visible at once, even if the job's transaction is rolled back.

        Raises:
            JobCancelled: the job's cancellation was requested. The engine handles it.
        """
        with interrupts.masked():
            is_requested = self.ledger.report_progress(self.claim, done, total, message)
        if is_requested:
            raise JobCancelled

    def check_cancelled(self) -> None:
        """End the job here if its cancellation was requested. Its transaction is rolled back.

        Raises:
            JobCancelled: the job's cancellation was requested. The engine handles it.
        """
        with interrupts.masked():
            is_requested = self.ledger.is_cancel_requested(self.claim)
        if is_requested:
            raise JobCancelled


_current: ContextVar[CurrentJob] = ContextVar("current_job")


def current_job() -> CurrentJob:
    """Return the job that the calling code is part of.

    Raises:
        LookupError: no job is running in this thread.
    """
    return _current.get()


@contextmanager
def running(job: CurrentJob) -> Iterator[None]:
    """Set the current job within the block."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def own_transaction() -> Iterator[None]:
    """Open a short transaction of an outward actor, as the job's brand or fan. It is not interrupted.

    The commit flushes the WAL: the actor is about to send the read data to another system.
    """
    job = current_job()
    with interrupts.masked(), transaction(job.identity, timeout=job.time_limit, closing=FLUSH):
        yield
