"""Work that takes the processor, done when nobody else wants it: password hashes beside requests of milliseconds.

A niced thread of its own, rather than whichever thread asks: that one also talks to the database and holds Python's
lock meanwhile, and whoever waits for the lock would wait for the system to get round to it.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from settings import settings

NICENESS = 10
"""Of 19: about a tenth of an ordinary thread's share while both want the same core, and all of it while none does."""

P = ParamSpec("P")
R = TypeVar("R")


def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns or raises, from a thread that steps back for others. It should leave Python's lock."""
    return _threads(os.getpid()).submit(function, *args, **kwargs).result()


@cache
def _threads(_process: int) -> ThreadPoolExecutor:
    """One set for each process: threads don't survive a fork."""
    return ThreadPoolExecutor(settings.slow_threads, "aside", initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere niceness is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
