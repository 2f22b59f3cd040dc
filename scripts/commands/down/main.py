"""`./scripts/down`: stop what `./scripts/up` started and wait until it has exited."""

import argparse
import fcntl
import os
import signal
import time
from pathlib import Path

from scripts.devstack import leftovers, processes
from scripts.devstack.environment import ROOT
from scripts.devstack.leftovers import UP
from scripts.devstack.processes import Record
from scripts.devstack.progress import SetupError, say


def main(argv: list[str]) -> int:
    """Run the command. Return its exit status: 0 also if nothing was running."""
    parser = argparse.ArgumentParser(prog="scripts/down", description="Stop what ./scripts/up started.")
    parser.add_argument("--var", type=Path, default=ROOT / "var", help="directory of data, logs and sockets")
    var: Path = parser.parse_args(argv).var.absolute()
    record = Record.read(var / "run" / f"{UP}.pid")
    if record is not None and record.alive:
        return _end(var, record)
    try:
        return _clean(var)
    except SetupError as error:
        say(f"✗ {error}")
        return 1


def _end(var: Path, record: Record) -> int:
    """Send SIGTERM, print the log until the process exits, and send SIGTERM again on each Ctrl-C."""
    signal.signal(signal.SIGINT, lambda *_: processes.send(record.pid, signal.SIGTERM))
    log = var / "log" / "up.log"
    position = log.stat().st_size if log.exists() else 0
    processes.send(record.pid, signal.SIGTERM)
    while record.alive:
        position = _follow(log, position)
        time.sleep(0.05)
    _follow(log, position)
    return 0


def _follow(log: Path, position: int) -> int:
    if not log.exists():
        return position
    with log.open("rb") as file:
        file.seek(position)
        for line in file.read().decode(errors="replace").splitlines():
            say(line)
        return file.tell()


def _clean(var: Path) -> int:
    """Stop processes that a killed `up` left behind."""
    if not (var / "run").exists():
        say("Nothing is running")
        return 0
    lock = os.open(var / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftovers.end(var)
    except BlockingIOError:
        say("A start is in progress; stop it in its terminal, or try again later")
        return 1
    finally:
        os.close(lock)
    say("Nothing is running")
    return 0
