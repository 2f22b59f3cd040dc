"""`./scripts/down`: end what `./scripts/up` started, and wait until it has ended."""

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
    """Run the command; return its exit status, 0 also when there was nothing to end."""
    parser = argparse.ArgumentParser(prog="scripts/down", description="End what ./scripts/up started.")
    parser.add_argument("--var", type=Path, default=ROOT / "var", help="where its data, logs and sockets are")
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
    """Ask once, pass on what it says, and ask again for every Ctrl-C."""
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
    """End what a killed `up` left behind."""
    if not (var / "run").exists():
        say("Nothing is running")
        return 0
    lock = os.open(var / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftovers.end(var)
    except BlockingIOError:
        say("A start is under way; end it there, or try again in a moment")
        return 1
    finally:
        os.close(lock)
    say("Nothing is running")
    return 0
