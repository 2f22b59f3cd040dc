"""Metrics of all web processes together, in files that they share (prometheus-client's multiprocess mode).

Each process writes its values to files of its own in one directory, which the master creates and deletes. The process
that answers a scrape adds the files up. When a process has ended, the master moves its counters to a file of the dead,
so that no counter falls and the number of files stays bounded.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that prometheus-client reads at its import."""
MIN_AGE = 60.0
"""Seconds before a directory without a lock counts as left: its master may just have created it."""
_PREFIX = "companon-metrics-"
_LOCK = "lock"
_DEAD = "dead"


def begin() -> None:
    """Create the directory of this master, and delete those of killed ones.

    Call it before prometheus-client is imported.
    """
    prefix = f"{_PREFIX}{os.getpid()}-"
    if Path(os.environ.get(DIRECTORY, "")).name.startswith(prefix):
        return  # gunicorn reads its configuration again when it reloads
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _delete_if_left(left)
    os.environ[DIRECTORY] = tempfile.mkdtemp(prefix=prefix)
    (Path(os.environ[DIRECTORY]) / _LOCK).touch(mode=0o600)
    # Held until the master and its processes have ended. systemd-tmpfiles, too, spares a locked directory.
    fcntl.flock(os.open(os.environ[DIRECTORY], os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)


def _delete_if_left(path: Path) -> None:
    with suppress(OSError):  # the lock is held, or the directory is another user's
        if time.time() - path.stat().st_mtime < MIN_AGE:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        finally:
            os.close(descriptor)


def end() -> None:
    """Delete the directory."""
    shutil.rmtree(os.environ[DIRECTORY], ignore_errors=True)


def directory() -> Path | None:
    """Return the directory, or None for a process that no such master has started."""
    return Path(os.environ[DIRECTORY]) if DIRECTORY in os.environ else None


@contextmanager
def files() -> Iterator[list[str]]:
    """Yield the files to add up. The master moves none of them meanwhile."""
    found = directory()
    assert found is not None
    with _locked(found, fcntl.LOCK_SH):
        # A file is empty for a moment after its creation.
        yield [str(path) for path in found.glob("*.db") if path.stat().st_size]


def retire(pid: int) -> None:
    """Move the counters of a process that has ended to the files of the dead, and delete its gauges.

    Log an error instead of raising it: gunicorn's master would end with it, and the service with the master.
    """
    found = directory()
    if found is None or not found.is_dir():
        return
    try:
        with _locked(found, fcntl.LOCK_EX):
            for path in found.glob(f"*_{pid}.db"):
                _retire_file(path, path.with_name(path.name.replace(f"_{pid}.", f"_{_DEAD}.")))
    except Exception:
        logger.exception("the counts of process %d are lost", pid)


def _retire_file(path: Path, dead: Path) -> None:
    try:
        if not path.name.startswith("gauge_"):
            _add(path, dead)
    finally:
        path.unlink()


def _add(source: Path, target: Path) -> None:
    from prometheus_client import mmap_dict  # imported late: `begin` comes first

    if not source.stat().st_size:
        return
    total: Any = mmap_dict.MmapedDict(str(target))  # type: ignore[no-untyped-call]
    for key, value, _, _ in total.read_all_values_from_file(str(source)):
        total.write_value(key, total.read_value(key)[0] + value, 0.0)
    total.close()


@contextmanager
def _locked(found: Path, kind: int) -> Iterator[None]:
    with (found / _LOCK).open() as lock:
        fcntl.flock(lock, kind)
        yield
