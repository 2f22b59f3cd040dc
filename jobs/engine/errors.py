"""How a job's body says that something other than «done» is to happen, and how it is told to stop."""


class RetryLater(Exception):
    """Run the job again, in `delay` seconds: something that we depend on has said so."""

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(reason or f"again in {delay:g} s")
        self.delay = delay


class JobInterrupted(BaseException):
    """Raised inside a job's body, between any two instructions, when its time is over.

    Not an `Exception`, so that a body's own handlers let it pass. `reason` is `time_limit` or `shutdown`.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class JobCancelled(BaseException):
    """Raised inside a job's body, where it asks, when somebody has cancelled the job. Handlers let it pass, too."""
