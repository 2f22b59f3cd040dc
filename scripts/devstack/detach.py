"""Run a function in the background; the command in the terminal waits until it is ready."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.devstack.progress import SetupError, output, say

READY = "\0"
"""Line that the background process writes when it is ready."""


def detached(var: Path, serve: Callable[[Callable[[], None]], int]) -> int:
    """Run `serve` in the background. Return 0 when it has called its argument, otherwise its exit status.

    Until then its output is printed here, and signals to stop are passed on to it.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _leave_terminal(var)
        os._exit(_serve(serve, write))
    os.close(write)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    with open(read) as lines:
        for line in lines:
            if line == READY + "\n":
                return 0
            say(line.rstrip("\n"))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _leave_terminal(var: Path) -> None:
    os.setsid()
    log = os.open(var / "log" / "up.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nowhere, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


def _serve(serve: Callable[[Callable[[], None]], int], write: int) -> int:
    pipe = open(write, "w")  # noqa: SIM115 - closed by `ready`, which is called within
    output.streams = [pipe]

    def ready() -> None:
        output.streams.remove(pipe)
        pipe.write(READY + "\n")
        pipe.close()

    try:
        return serve(ready)
    except SetupError as error:
        say(f"✗ {error}")
        return 1
    except BaseException:
        # The parent may be gone: write the traceback to the log.
        sys.excepthook(*sys.exc_info())
        say(f"✗ unexpected; see {os.readlink('/proc/self/fd/2')}")
        return 1
