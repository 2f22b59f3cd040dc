"""Run a job in a copy of this process, which SIGKILL ends at a chosen place."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from jobs.engine.ledger import Claim, Ledger
from jobs.engine.worker.runner import Runner
from models.jobs import wakeup

WORKER = 1
"""Number of the worker that claims the jobs."""

Arrange = Callable[[], object]
"""Called in the copy: replaces a function by one that calls `kill`."""


def kill() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL ends the process")


def kill_before(place: Any, name: str) -> None:
    """Replace a function of a module or class by one that kills the process."""
    setattr(place, name, lambda *_args, **_options: kill())


def kill_after(place: Any, name: str) -> None:
    """Replace a function of a module, class or object by one that kills the process after its effect."""
    real = getattr(place, name)

    def run(*args: Any, **options: Any) -> NoReturn:
        real(*args, **options)
        kill()

    setattr(place, name, run)


def is_killed(claim: Claim, arrange: Arrange) -> bool:
    """Run an attempt of a claimed job in a copy of this process. Return whether the copy was killed.

    A new thread of the copy runs the job, so its connections to PostgreSQL are its own.
    """

    def work() -> None:
        wakeup.notify = lambda: None  # Its connection is shared with the parent.
        arrange()
        Runner(Ledger(), WORKER).run(claim)

    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
