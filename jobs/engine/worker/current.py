"""The job that is being run, as its body sees it."""

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
    """The attempt under way."""

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
        """1 for the first attempt."""
        return self.claim.attempts

    @property
    def idempotency_key(self) -> str:
        """What to call a vendor with, so that a second attempt is recognised as the same act."""
        return f"job-{self.claim.id}"

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Say how far the job is; seen at once by whoever watches it, whatever becomes of its transaction.

        Raises:
            JobCancelled: somebody has cancelled the job; as `check_cancelled`.
        """
        with interrupts.masked():
            is_unwanted = self.ledger.report_progress(self.claim, done, total, message)
        if is_unwanted:
            raise JobCancelled

    def check_cancelled(self) -> None:
        """End the job here if somebody has cancelled it. What its transaction wrote is rolled back.

        Raises:
            JobCancelled: somebody has; it is for the engine to handle.
        """
        with interrupts.masked():
            is_unwanted = self.ledger.is_cancel_requested(self.claim)
        if is_unwanted:
            raise JobCancelled


_current: ContextVar[CurrentJob] = ContextVar("current_job")


def current_job() -> CurrentJob:
    """The job that the calling code is part of.

    Raises:
        LookupError: it is part of none.
    """
    return _current.get()


@contextmanager
def running(job: CurrentJob) -> Iterator[None]:
    """Be that job within the block."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def own_transaction() -> Iterator[None]:
    """A short transaction of an outward actor, as the job's brand or fan. It is not interrupted half-way.

    What it has read outlives a crash of PostgreSQL: the actor is about to tell the world.
    """
    job = current_job()
    with interrupts.masked(), transaction(job.identity, timeout=job.time_limit, closing=FLUSH):
        yield
