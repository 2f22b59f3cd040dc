"""Exceptions between a job's body and the engine."""


class RetryLater(Exception):
    """Retry the job in `delay` seconds. Raised by a body when a dependency requests a later attempt."""

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(reason or f"retry in {delay:g} s")
        self.delay = delay


class JobInterrupted(BaseException):
    """Interrupt a job's body, between any two instructions, when its time is over.

    Not an `Exception`, so that a body's own handlers do not catch it. `reason` is `time_limit` or `shutdown`.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class JobCancelled(BaseException):
    """End a job's body at a check because the job is cancelled. Not an `Exception`: handlers do not catch it."""
