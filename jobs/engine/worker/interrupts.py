"""Interrupt a job's body: at most once per attempt, and never outside the body.

An asynchronous exception is raised between any two instructions, so it is armed around the body alone. `disarm`
acquires the lock under which the exception is set, and withdraws an exception that is set but not raised yet. After it
returns, nothing can interrupt the following code (finish and COMMIT). At most one exception is set for each arming, so
a handler of `JobInterrupted` is never interrupted.
"""

import ctypes
import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from jobs.engine.errors import JobInterrupted

log = logging.getLogger(__name__)

Reason = Literal["time_limit", "shutdown"]

_WATCHDOG_EVERY = 5.0  # seconds between two resets of the watchdog
_STDERR = 2  # the descriptor: a replaced `sys.stderr` may have none, which would end the watch thread
_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)
_NOTHING = ctypes.py_object()  # a null pointer: withdraws an exception that has not been raised yet


@dataclass(slots=True)
class Armed:
    """One body that may be interrupted. Times are of `time.monotonic`.

    Attributes:
        reason: the reason of an interrupt at the deadline.
        fired: the reason of the interrupt that was set; None before.
        masked: the number of open `masked` blocks.
    """

    deadline: float
    hard_deadline: float
    thread_id: int = field(default_factory=threading.get_ident)
    reason: Reason = "time_limit"
    fired: Reason | None = None
    masked: int = 0


class Interrupts:
    """Watches the bodies that run in this process and interrupts the overdue ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._armed: dict[int, Armed] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def arm(self, limit: float, grace: float) -> Armed:
        """Allow an interrupt of the calling thread after `limit` seconds.

        If the body has not ended after another `grace` seconds, the process is killed. The relay then reclaims its
        jobs.
        """
        deadline = time.monotonic() + limit
        armed = Armed(deadline, deadline + grace)
        with self._changed:
            self._start()
            self._armed[armed.thread_id] = armed
            if deadline < self._wakes_at:
                self._changed.notify()
        return armed

    def disarm(self, armed: Armed) -> None:
        """Allow no further interrupt. May be called twice.

        Raises:
            JobInterrupted: the exception was set, whether or not it has been raised.
        """
        with self._lock:
            mine = self._armed.pop(armed.thread_id, None)
            if mine is not None and armed.fired:
                _set_async_exc(armed.thread_id, _NOTHING)
        if mine is not None and armed.fired:
            raise JobInterrupted

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Delay interrupts of the calling thread until the end of the block. Blocks may be nested."""
        armed = self._armed.get(threading.get_ident())
        if armed is None:
            yield
            return
        with self._lock:
            armed.masked += 1
        try:
            yield
        finally:
            with self._changed:
                armed.masked -= 1
                if time.monotonic() >= armed.deadline:
                    self._changed.notify()

    def interrupt_all(self, reason: Reason) -> None:
        """Interrupt every body that runs in this process."""
        with self._changed:
            for armed in self._armed.values():
                armed.deadline, armed.reason = time.monotonic(), reason
                self._fire_unless_masked(armed)
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                for armed in list(self._armed.values()):
                    self._check(armed, now)
                self._reset_watchdog(now)
                pause = self._pause(now)
                self._wakes_at = now + pause
                self._changed.wait(pause)

    def _check(self, armed: Armed, now: float) -> None:
        if now >= armed.hard_deadline:
            log.critical("a job did not stop after its interrupt; ending this process")
            os.kill(os.getpid(), signal.SIGKILL)
        if now >= armed.deadline:
            self._fire_unless_masked(armed)

    def _fire_unless_masked(self, armed: Armed) -> None:
        if not armed.fired and not armed.masked:
            armed.fired = armed.reason
            _set_async_exc(armed.thread_id, ctypes.py_object(JobInterrupted))

    def _pause(self, now: float) -> float:
        times = [a.hard_deadline if a.fired or a.masked else a.deadline for a in self._armed.values()]
        return max(0.001, min([_WATCHDOG_EVERY, *(t - now for t in times)]))

    def _reset_watchdog(self, now: float) -> None:
        """Reset a timer in C that ends the process if a body holds the interpreter lock and blocks this thread."""
        last = max((a.hard_deadline for a in self._armed.values()), default=now)
        faulthandler.dump_traceback_later(last - now + 12 * _WATCHDOG_EVERY, exit=True, file=_STDERR)


interrupts = Interrupts()
