"""Exceptions that a job's body raises for the engine, or the engine raises in the body."""

from models.core.errors import Unavailable


class RetryLater(Exception):
    """Retry the job in `delay` seconds. Raised by a body when a dependency requests a later attempt."""

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(reason or f"retry in {delay:g} s")
        self.delay = delay


class Postponed(Unavailable):
    """The job has done nothing yet and must wait `retry_after` seconds. It costs the job no attempt."""


class JobInterrupted(BaseException):
    """Interrupt a job's body between any two instructions: its time limit is over, or its worker stops.

    Not an `Exception`, so that handlers in the body do not catch it. `reason` is `time_limit` or `shutdown`.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class JobCancelled(BaseException):
    """End the body of a cancelled job at its next check for cancellation.

    Not an `Exception`, so that handlers in the body do not catch it.
    """
