"""`./scripts/up`: start the whole system and supervise it until a signal stops it."""

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from scripts.commands.up import options
from scripts.devstack import launch, leftovers, procfile, sockets
from scripts.devstack.detach import detached
from scripts.devstack.environment import ROOT
from scripts.devstack.leftovers import UP
from scripts.devstack.people import PEOPLE
from scripts.devstack.processes import Record
from scripts.devstack.progress import SetupError, fail, output, say
from scripts.devstack.reload import Reloader
from scripts.devstack.signals import Interrupted, Signals
from scripts.devstack.stack import Stack
from settings import misspelt

DEFAULT_PORT = 8000
OPEN_FILES = 65_536
SECRETS = "secrets.json"
DATA = ("pg", "redis", "mail", "checkpoints")
"""Directories below `var` that `--fresh` deletes."""
DEMO = [sys.executable, "-m", "scripts.commands.demo"]
INTERRUPTED = 130
"""Exit status of a start that was interrupted before the system was ready."""


@dataclass(frozen=True)
class Options:
    """Options of a start."""

    var: Path
    port: int
    commands: dict[str, str]
    demo: bool
    fresh: bool
    reload: bool
    begun: float
    """Start of the command on the monotonic clock, in seconds."""


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    begun = launch.begun()
    given = options.parse(argv)
    for name, known in misspelt(os.environ).items():
        say(f"  {name} is unknown: did you mean {known}?")
    if given.fresh:
        require_own(given.var)
    var = layout(given.var)
    lock = claim(var)
    try:
        commands = _commands(given.procfile)
        wanted = Options(var, choose_port(given.port), commands, given.demo, given.fresh, given.reload, begun)
        if not given.detach:
            return serve(wanted)
        code = detached(var, lambda ready: serve(wanted, ready))
    finally:
        os.close(lock)
    return demonstrate(wanted) if wanted.demo and code == 0 else code


def _commands(path: Path) -> dict[str, str]:
    try:
        return procfile.read(path)
    except (OSError, ValueError) as error:
        fail(str(error))


def layout(var: Path) -> Path:
    """Return the directory of a system; create it if needed.

    If root runs the command, others may enter the directory: PostgreSQL runs below it as user postgres.
    """
    var = var.absolute()
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for folder in (var, var / "run", var / "log", var / "mail"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    var.chmod(mode)
    return var


def claim(var: Path) -> int:
    """Acquire the directory's lock. It is held while the returned descriptor is open, here or in a child process.

    Raises:
        SetupError: a system runs there; carries its URL.
    """
    lock = os.open(var / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        fail(_running(var))
    return lock


def _running(var: Path) -> str:
    record = Record.read(var / "run" / f"{UP}.pid")
    who = f" (PID {record.pid})" if record else ""
    if (var / "run.json").exists():
        return f"Already running{who}: {json.loads((var / 'run.json').read_text())['api']}; ./scripts/down stops it"
    return f"Already starting or stopping{who} in {var}"


def choose_port(wanted: int | None) -> int:
    """Return the wanted port; without one 8000, or a free port if 8000 is in use.

    Raises:
        SetupError: the wanted port is in use.
    """
    if wanted is None:
        return DEFAULT_PORT if sockets.is_free(DEFAULT_PORT) else sockets.free_port()
    if not sockets.is_free(wanted):
        fail(f"Port {wanted} is in use; choose another with --port, or omit it to get a free one")
    return wanted


def serve(options: Options, ready: Callable[[], None] | None = None) -> int:
    """Start the system, supervise it until a request to stop, and stop it. Return the exit status.

    `ready` is called when the API is ready; with it, the caller runs the demonstration.
    """
    signals = Signals()
    _allow_open_files()
    record = options.var / "run" / f"{UP}.pid"
    Record.of(os.getpid()).write(record)
    output.streams.append((options.var / "log" / "up.log").open("a"))
    stack = Stack(options.var, options.port, signals, options.commands)
    code = INTERRUPTED
    try:
        if options.fresh:
            leftovers.end(options.var)
            erase(options.var)
        # Before the start: a file that changes after a process has read it must restart the process.
        reloader = Reloader(ROOT, stack.supervisor) if options.reload else None
        stack.start()
        announce(stack, time.monotonic() - options.begun)
        code = 0
        if ready:
            ready()
        elif options.demo:
            code = _demonstrate_beside(stack)
        _supervise(stack, reloader)
    except Interrupted:
        say("Stopping (press Ctrl-C again to abort running jobs)")
    except SetupError as error:
        say(f"✗ {error}")
        code = 1
    finally:
        stack.stop()
        record.unlink(missing_ok=True)
    say("Stopped")
    return code


def require_own(var: Path) -> None:
    """Refuse a directory with other files: `--fresh` would delete what has the name of our data.

    Raises:
        SetupError: the directory is not empty, and no system has run there.
    """
    if var.exists() and any(var.iterdir()) and not (var / SECRETS).exists():
        fail(f"{var} is not empty, and no system has run there: choose another directory with --var")


def erase(var: Path) -> None:
    """Delete the data of an earlier system in this directory. Its secrets and logs stay."""
    for name in DATA:
        if (var / name).exists():
            shutil.rmtree(var / name)
    (var / PEOPLE).unlink(missing_ok=True)


def _supervise(stack: Stack, reloader: Reloader | None) -> NoReturn:
    """Supervise the processes until a signal requests to stop.

    Raises:
        Interrupted: always.
    """
    while True:
        stack.supervisor.signals.check()
        stack.supervisor.supervise(0.05)
        if reloader:
            reloader.poll()


def _demonstrate_beside(stack: Stack) -> int:
    code = stack.supervisor.run_once("demo", DEMO, _demo_environment(stack.var), logged=False)
    say(f"The demonstration exited with status {code}; the system keeps running at {stack.api} (Ctrl-C stops it)")
    return code


def _allow_open_files() -> None:
    """Raise the limit of open files: each live feed uses one."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, min(most, OPEN_FILES)), most))


def announce(stack: Stack, seconds: float) -> None:
    """Print the addresses of the system."""
    say(f"Ready after {seconds:.1f} s")
    say(f"  API            {stack.api}/api/v1")
    say(f"  Documentation  {stack.api}/docs")
    say(f"  Mail           {stack.mail}/messages")
    say(f"  System Admin   {stack.secrets.admin_email}, password and authenticator in {stack.run_file}")
    say(f"  Logs           {stack.var / 'log'}")


def demonstrate(options: Options) -> int:
    """Run the demonstration against a detached system. Return its exit status."""
    code = subprocess.run(DEMO, env=_demo_environment(options.var), cwd=ROOT, check=False).returncode
    say(f"The demonstration exited with status {code}; the system keeps running (./scripts/down stops it)")
    return code


def _demo_environment(var: Path) -> dict[str, str]:
    return os.environ | {"COMPANON_RUN": str(var / "run.json"), "PYTHONUNBUFFERED": "1"}
