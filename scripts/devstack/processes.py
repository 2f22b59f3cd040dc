"""Start processes that die with their parent, identify them in a later run, and send them signals."""

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

MARK = "COMPANON_SUPERVISED"
"""Environment variable that identifies the processes of a run."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: "IO[bytes] | int | None",
    death_signal: int = signal.SIGTERM,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start a process in its own session. The kernel sends it `death_signal` when this process dies.

    Ctrl-C in the terminal doesn't reach it. Call this from the main thread: the kernel watches the calling thread.
    """
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        preexec_fn=_die_with_parent(death_signal),
        pass_fds=pass_fds,
    )


def _die_with_parent(death_signal: int) -> Callable[[], None]:
    parent = os.getpid()

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # The parent died between fork and prctl.
            os._exit(1)

    return ask


@dataclass(frozen=True)
class Stat:
    """Fields of `/proc/PID/stat`."""

    pid: int
    state: str
    session: int
    start: int

    @property
    def alive(self) -> bool:
        """Return whether the process runs; a zombie doesn't."""
        return self.state not in "ZX"


def stat(pid: int) -> Stat | None:
    """Return the state of a process, or None if it doesn't exist."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may contain anything, so count fields from its end (proc(5): field 3 is the state).
    after = text.rpartition(")")[2].split()
    return Stat(pid, state=after[0], session=int(after[3]), start=int(after[19]))


def processes() -> Iterator[Stat]:
    """Yield every running process."""
    for entry in Path("/proc").iterdir():
        found = stat(int(entry.name)) if entry.name.isdigit() else None
        if found is not None and found.alive:
            yield found


@dataclass(frozen=True)
class Record:
    """Identity of a process: a later run can distinguish it from another process with the same PID."""

    pid: int
    start: int
    boot: str
    mark: str = ""

    @classmethod
    def of(cls, pid: int, mark: str = "") -> "Record":
        """Return the record of an existing process or zombie."""
        found = stat(pid)
        return cls(pid, found.start if found else -1, _boot(), mark)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """Return the record in a file, or None if the file is missing or truncated."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    @property
    def alive(self) -> bool:
        """Return whether the recorded process still runs."""
        found = stat(self.pid)
        return found is not None and found.alive and found.start == self.start and self.boot == _boot()

    def remains(self) -> list[int]:
        """Return the PIDs of its session's running processes: itself, and others with the run's marker variable."""
        if self.boot != _boot():
            return []
        itself = [self.pid] if self.alive else []
        return itself + [
            other.pid
            for other in processes()
            if other.session == self.pid and other.pid != self.pid and other.start >= self.start and self._marked(other)
        ]

    def _marked(self, other: Stat) -> bool:
        return bool(self.mark) and f"{MARK}={self.mark}".encode() in _environment(other.pid)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def send(pid: int, number: int) -> None:
    """Send a signal. Ignore a process that has exited."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file atomically: a reader, or a crash, sees the old or the new content."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
