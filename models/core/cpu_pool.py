"""Low-priority threads for work that needs much processor time, such as password hashes.

A request that takes milliseconds must not wait for a hash of 100 ms. The calling thread can't lower its own priority:
it also holds Python's lock and a database connection, and other threads would wait for it.
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
"""0 to 19. At 10, a thread gets a tenth of the time of a busy core, and all the time of an idle core."""

P = ParamSpec("P")
R = TypeVar("R")


def run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a low-priority thread; return its result or raise its error.

    The function should release Python's lock (GIL) while it computes.
    """
    return _threads(os.getpid()).submit(function, *args, **kwargs).result()


@cache
def _threads(_process: int) -> ThreadPoolExecutor:
    # One pool per process id: threads do not survive a fork.
    return ThreadPoolExecutor(settings.slow_threads, "cpu-pool", initializer=_lower_priority)


def _lower_priority() -> None:
    if sys.platform == "linux":  # on other systems niceness applies to the whole process
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(own + NICENESS, 19))
