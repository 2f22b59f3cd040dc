"""From any Python 3.11 to the project's own: what every command does first."""

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from scripts.devstack import environment, packages
from scripts.devstack.progress import SetupError, say

BEGUN = "COMPANON_BEGUN"
"""When the person pressed Enter, on the monotonic clock: it outlives the change of Python."""


def begun() -> float:
    """When this command began; asked once, so that no child takes it for its own."""
    return float(os.environ.pop(BEGUN, time.monotonic()))


def command(main: str, *, lock: str = "runtime", servers: bool = True) -> NoReturn:
    """Install what is missing, go on in `.venv`'s Python, and run `main` there.

    Args:
        main: `module:function`; the function takes the arguments and returns the exit status.
        lock: what the command needs: "runtime" or "dev".
        servers: whether it needs PostgreSQL and Redis installed.
    """
    os.environ.setdefault(BEGUN, str(time.monotonic()))
    sys.exit(_guarded(lambda: _run(main, lock, servers)))


def _run(main: str, lock: str, servers: bool) -> int:
    if sys.version_info < packages.OLDEST_PYTHON:
        raise SetupError("This needs Python 3.11 or newer; this one is " + sys.version.split()[0])
    prepare(lock, servers)
    environment.keep_bytecode()
    if not os.path.samefile(sys.prefix, environment.VENV):
        os.execv(environment.PYTHON, [str(environment.PYTHON), *sys.argv])
    module, function = main.split(":")
    run: Callable[[list[str]], int] = getattr(__import__(module, fromlist=[function]), function)
    return run(sys.argv[1:])


def prepare(lock: str, servers: bool) -> None:
    """Make this machine able to run the system; nothing happens when it is.

    Raises:
        SetupError: something is missing that can't be installed from here.
    """
    if environment.ready(lock) and not (servers and packages.missing(environment=False)):
        return
    with environment.exclusively():
        new = not environment.ready(lock)
        if servers or new:
            packages.ensure(environment=new)
        if new:
            environment.ensure(lock)


def _guarded(run: Callable[[], int]) -> int:
    """Turn a termination into an exception, so that what is temporary is put back, and errors into messages."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return run()
    except SetupError as error:
        say(f"✗ {error}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted")
        return 130


def _terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
