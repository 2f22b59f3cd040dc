"""Turn signals into events that a loop polls, so that no step is interrupted."""

import os
import select
import signal
from types import FrameType

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal requested this command to stop."""


class Signals:
    """Count requests to stop, and wake up on a signal or on the exit of a child process."""

    def __init__(self) -> None:
        self.requests = 0
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._ignore)
        for number in REQUESTS:
            signal.signal(number, self._count)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.requests += 1

    def _ignore(self, _number: int, _frame: FrameType | None) -> None:
        """Do nothing: the byte in the wake-up pipe is enough."""

    def wait(self, seconds: float) -> None:
        """Return on a signal, or after `seconds`."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)

    def check(self) -> None:
        """Check for a request to stop.

        Raises:
            Interrupted: a signal requested to stop.
        """
        if self.requests:
            raise Interrupted

    def acknowledge(self) -> None:
        """Acknowledge one request. A second request that arrived with it still counts."""
        self.requests = max(0, self.requests - 1)
