"""Signals as events that a loop looks at, so that nothing is interrupted half done."""

import os
import select
import signal
from types import FrameType

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The person, or the system, asked this command to stop."""


class Signals:
    """Counts requests to stop, and wakes up when one comes or a child ends."""

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
        """A child ended: the byte in the pipe is what matters."""

    def wait(self, seconds: float) -> None:
        """Return when a signal has come, or after `seconds`."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)

    def check(self) -> None:
        """Raise what has been requested.

        Raises:
            Interrupted: somebody asked to stop.
        """
        if self.requests:
            raise Interrupted

    def heard(self) -> None:
        """Take one request as heard: a second one that came with it still counts."""
        self.requests = max(0, self.requests - 1)
