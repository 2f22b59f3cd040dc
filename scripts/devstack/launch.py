"""Start a command from any Python 3.11: install what it needs and continue in the virtual environment."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

from scripts.devstack import environment, packages
from scripts.devstack.progress import SetupError, say

BEGUN = "COMPANON_BEGUN"
"""Environment variable: start of the command on the monotonic clock. It outlives the change to `.venv`'s Python."""


def begun() -> float:
    """Return the start of this command and remove it from the environment, so that no child process inherits it."""
    return float(os.environ.pop(BEGUN, time.monotonic()))


@dataclass(frozen=True)
class Needs:
    """Packages and environment that a command needs before it runs."""

    lock: str | None = "runtime"
    """The lock file that `.venv` is made from; None: any Python 3.11 will do, and nothing is installed."""
    servers: bool = True
    """Whether PostgreSQL and Redis must be installed."""


COMMANDS = {
    "admin": Needs(servers=False),
    "advisories": Needs(lock="dev", servers=False),
    "audit": Needs(servers=False),
    "bench": Needs(),
    "demo": Needs(servers=False),
    "down": Needs(lock=None, servers=False),
    "keys": Needs(servers=False),
    "lock": Needs(servers=False),
    "migrate": Needs(servers=False),
    "mutate": Needs(lock="dev"),
    "openapi": Needs(servers=False),
    "replay": Needs(servers=False),
    "settings": Needs(servers=False),
    "soak": Needs(lock="dev"),
    "status": Needs(servers=False),
    "test": Needs(lock="dev"),
    "token": Needs(servers=False),
    "up": Needs(),
}
"""The executables of `scripts/`, and what each needs."""


def launch(name: str) -> NoReturn:
    """Run `scripts/commands/<name>/main.py`: install what is missing, then call `main(arguments)` in `.venv`'s Python.

    `options.parse`, if the command has it, runs first: `--help` and mistakes are answered before anything is installed.
    """
    package = f"scripts.commands.{name}"
    if find_spec(f"{package}.options"):
        import_module(f"{package}.options").parse(sys.argv[1:])
    os.environ.setdefault(BEGUN, str(time.monotonic()))
    sys.exit(_guarded(lambda: _run(f"{package}.main", COMMANDS[name])))


def _run(module: str, needs: Needs) -> int:
    if needs.lock is not None:
        if sys.version_info < packages.OLDEST_PYTHON:
            raise SetupError("This needs Python 3.11 or newer; this one is " + sys.version.split()[0])
        prepare(needs.lock, needs.servers)
        environment.keep_bytecode()
        if not os.path.samefile(sys.prefix, environment.VENV):
            os.execv(environment.PYTHON, [str(environment.PYTHON), *sys.argv])
    main: Callable[[list[str]], int] = import_module(module).main
    return main(sys.argv[1:])


def prepare(lock: str, servers: bool) -> None:
    """Install missing packages and the virtual environment. Do nothing if all are there.

    Raises:
        SetupError: a missing package can't be installed from here.
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
    """Return the command's exit status. Print setup errors; turn SIGTERM into an exception, so that clean-up runs."""
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
