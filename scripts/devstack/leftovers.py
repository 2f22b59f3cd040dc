"""Stop processes that a killed run left behind. Only processes that match their record are stopped."""

import signal
import time
from pathlib import Path

from scripts.devstack import processes
from scripts.devstack.processes import Record
from scripts.devstack.progress import fail, say

UP = "up"
GENTLE = {"postgres": signal.SIGINT, "redis": signal.SIGTERM}
"""Signals of servers, which write their data before they exit. Other processes are killed: their jobs run again."""
PATIENCE = 10.0
"""Seconds until servers must have exited, and again until killed processes must be gone."""


def end(var: Path) -> None:
    """Stop the processes of an earlier run under `var`. The caller holds the lock of `var`.

    Raises:
        SetupError: a killed process didn't exit.
    """
    for name, record in recorded(var).items():
        if left := record.remains():
            say(f"Stopping {name} of an earlier run (PID {', '.join(map(str, left))})")
            _end(record, GENTLE.get(name, signal.SIGKILL))
        (var / "run" / f"{name}.pid").unlink()


def recorded(var: Path) -> dict[str, Record]:
    """Return the recorded processes under `var` that weren't seen to exit; servers last, because others need them."""
    paths = {path.stem: path for path in (var / "run").glob("*.pid") if path.stem != UP}
    records = {name: Record.read(path) for name, path in paths.items()}
    for name in (name for name, record in records.items() if record is None):
        paths[name].unlink()
    whole = [(name, record) for name, record in records.items() if record is not None]
    return dict(sorted(whole, key=lambda pair: pair[0] in GENTLE))


def _end(record: Record, number: int) -> None:
    for pid in record.remains():
        processes.send(pid, number)
    if not _gone(record):
        for pid in record.remains():
            processes.send(pid, signal.SIGKILL)
        if not _gone(record):
            fail(f"PID {record.pid}, from an earlier run, did not exit after SIGKILL")


def _gone(record: Record) -> bool:
    deadline = time.monotonic() + PATIENCE
    while record.remains():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
