"""Restart the processes whose code has changed: `./scripts/up --reload`."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.devstack.progress import say
from scripts.devstack.supervisor import Supervisor

EVERY = 0.25
"""Seconds between two scans. A change is applied once a scan finds no further one."""
SUFFIXES = frozenset({".py", ".sql", ".html", ".css", ".js", ".txt", ".json"})
MIGRATIONS = Path("models", "supabase")
_ALL = ("web", "relay", "worker", "clock", "seal")
READERS: Mapping[str, tuple[str, ...]] = {
    "models": _ALL,
    "settings.py": _ALL,
    "jobs": ("relay", "worker", "clock", "seal"),
    "schedules": ("clock",),
    "web": ("web",),
}
"""Processes that read a file or the files of a directory, by its name in the checkout."""

Stamps = dict[Path, tuple[int, int]]
"""Time of the last change in nanoseconds and size in bytes of each file, by its path in the checkout."""


@dataclass
class Reloader:
    """Watches the files of a checkout by their times and sizes."""

    root: Path
    supervisor: Supervisor
    _seen: Stamps = field(init=False)
    _changed: set[Path] = field(default_factory=set)
    _is_settling: bool = False
    _due: float = 0.0

    def __post_init__(self) -> None:
        self._seen = stamps(self.root)

    def poll(self) -> None:
        """Scan the files if a scan is due, and restart processes after a change."""
        if time.monotonic() < self._due:
            return
        found = stamps(self.root)
        changed = {path for path in found.keys() | self._seen.keys() if found.get(path) != self._seen.get(path)}
        for path in sorted(changed):
            if MIGRATIONS in path.parents:
                say(migration_text(path, is_new=path not in self._seen, exists=path in found))
        self._seen = found
        self._changed |= changed
        if self._is_settling and not changed:
            self._apply()
        self._is_settling = bool(changed)
        self._due = time.monotonic() + EVERY

    def _apply(self) -> None:
        """Restart the readers of the changed files. While one has a syntax error, the processes keep their code."""
        faults = [fault for path in sorted(self._changed) if (fault := syntax_error(self.root, path))]
        for fault in faults:
            say(f"{fault}; the processes keep their code")
        if faults:
            return
        if names := readers(self._changed):
            started = time.monotonic()
            self.supervisor.restart(names)
            files = ", ".join(str(path) for path in sorted(self._changed) if MIGRATIONS not in path.parents)
            say(f"Restarted {', '.join(names)} in {time.monotonic() - started:.1f} s: {files} changed")
        self._changed.clear()


def stamps(root: Path) -> Stamps:
    """Return time and size of all watched files."""
    found: Stamps = {}
    for name in READERS:
        top = root / name
        for entry in _files(str(top)) if top.is_dir() else ():
            # An editor may replace a file between the two calls.
            with suppress(FileNotFoundError):
                found[Path(entry.path).relative_to(root)] = _stamp(entry.stat())
        if top.is_file():
            found[Path(name)] = _stamp(top.stat())
    return found


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


def _files(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__pycache__")):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif os.path.splitext(entry.name)[1] in SUFFIXES:
                yield entry


def readers(changed: set[Path]) -> list[str]:
    """Return the processes that read one of the files, in the order of a start."""
    named = {name for path in changed if MIGRATIONS not in path.parents for name in READERS[path.parts[0]]}
    return [name for name in _ALL if name in named]


def migration_text(path: Path, *, is_new: bool, exists: bool) -> str:
    """Return what to do about a migration that was added, changed or deleted."""
    if is_new:
        return f"{path.name} is new: ./scripts/migrate applies it"
    return (
        f"{path.name} was {'changed' if exists else 'deleted'}: if it has been applied, restore it or start with an"
        " empty database (./scripts/up --fresh)"
    )


def syntax_error(root: Path, path: Path) -> str | None:
    """Return the place and the text of a Python file's syntax error, or None."""
    if path.suffix != ".py" or not (root / path).exists():
        return None
    try:
        compile((root / path).read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{path}, line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
    return None
