"""Processes of an earlier run that was killed: ended if they are the very ones that were written down."""

import signal
import time
from pathlib import Path

from scripts.devstack import processes
from scripts.devstack.processes import Record
from scripts.devstack.progress import fail, say

UP = "up"
GENTLE = {"postgres": signal.SIGINT, "redis": signal.SIGTERM}
"""Servers have something to write down; the others' work is given back by the ledger."""
PATIENCE = 10.0
"""Seconds for the gentle ones, then again for the kernel to remove them all."""


def end(var: Path) -> None:
    """End what is left of an earlier run under `var`; the caller holds its lock.

    Raises:
        SetupError: something doesn't even end when killed.
    """
    for name, record in recorded(var).items():
        if left := record.remains():
            say(f"Ending what is left of {name} from an earlier run (PID {', '.join(map(str, left))})")
            _end(record, GENTLE.get(name, signal.SIGKILL))
        (var / "run" / f"{name}.pid").unlink()


def recorded(var: Path) -> dict[str, Record]:
    """Who was started under `var` and not seen to end; servers last, because the others need them."""
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
            fail(f"PID {record.pid}, from an earlier run, doesn't end")


def _gone(record: Record) -> bool:
    deadline = time.monotonic() + PATIENCE
    while record.remains():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
