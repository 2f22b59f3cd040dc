"""Restart processes that exit, and stop them in order with one signal each.

Common supervisors signal whole process groups. Dramatiq's workers, which their master signals as well, would treat the
second signal as a request to abort their running jobs.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.devstack import processes
from scripts.devstack.processes import Record
from scripts.devstack.procfile import kind_of
from scripts.devstack.progress import SetupError, say
from scripts.devstack.signals import Signals

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds until a process that exited is restarted: the first delay, doubled up to the longest."""
RELOAD_WITHIN = 1.5
"""Seconds until a process must have exited when its code has changed. Jobs of a killed worker run again."""
STEADY = 10.0
"""Seconds after which the delay of a running process is reset."""
FAILURES = 3
"""Exits of one process that make the start of the system fail."""
ROTATE = 10_000_000
"""Size in bytes at which a log is rotated at the next start."""


@dataclass(frozen=True)
class Spec:
    """A process to keep running."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    budget: float = 30.0
    """Seconds until it must have exited after `stop_signal`."""
    waits_for: str = "finishing"
    """Activity after `stop_signal`, for progress messages."""
    before: Callable[[], None] = lambda: None
    """Called before every start, e.g. to remove files of a dead predecessor."""
    pass_fds: Sequence[int] = ()
    server: bool = False
    """Whether other processes need it until they have exited."""


@dataclass
class Child:
    """State of a supervised process."""

    spec: Spec
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    delay: float = FIRST_DELAY
    due: float = 0.0
    deaths: int = 0
    log_start: int = 0
    """Size of the log when the process was started."""


class Supervisor:
    """Run processes with logs in `var/log/` and records in `var/run/*.pid`."""

    def __init__(self, var: Path, cwd: Path, signals: Signals, on_change: Callable[[], None] = lambda: None) -> None:
        self.var, self.cwd, self.signals, self.on_change = var, cwd, signals, on_change
        self.children: dict[str, Child] = {}
        self.mark = os.urandom(8).hex()
        self.starting = True
        for folder in (var / "log", var / "run"):
            folder.mkdir(mode=0o700, exist_ok=True)

    def start(self, spec: Spec) -> None:
        """Start a process and restart it when it exits."""
        log = self.log(spec.name)
        if log.exists() and log.stat().st_size > ROTATE:
            log.replace(log.with_suffix(".log.1"))
        child = self.children[spec.name] = Child(spec)
        self._spawn(child)

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.var / "log" / f"{name}.log"

    def pids(self) -> dict[str, list[int]]:
        """Return the PID of each running process by name."""
        return {name: [child.process.pid] for name, child in self.children.items() if child.process}

    def run_once(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, logged: bool = True) -> int:
        """Run a command to its end while supervising the others. Return its exit status.

        Raises:
            Interrupted: a signal requested to stop; the command was stopped.
        """
        with open(self.log(name), "ab") if logged else contextlib.nullcontext() as output:
            process = processes.spawn(argv, env=env, cwd=self.cwd, output=output)
        try:
            self.until(lambda: process.poll() is not None)
        finally:
            _end(process)
        return process.returncode

    def until(self, condition: Callable[[], bool], *, timeout: float = float("inf"), what: str = "") -> None:
        """Supervise the processes until `condition` holds.

        Raises:
            Interrupted: a signal requested to stop.
            SetupError: it took longer than `timeout` seconds, or a process kept exiting during the start.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.signals.check()
            if time.monotonic() > deadline:
                raise SetupError(f"{what} took more than {timeout:.0f} s")
            self.supervise(0.05)

    def supervise(self, seconds: float) -> None:
        """Wait up to `seconds` for a signal or an exit, then restart processes that are due."""
        now = time.monotonic()
        due = [child.due - now for child in self.children.values() if child.process is None]
        self.signals.wait(max(0.0, min([seconds, *due])))
        for child in self.children.values():
            if child.process is not None and _ended(child.process):
                code = self._reap(child)
                self._failed(child, describe(code), self._reason(child) if code > 0 else "")
            if child.process is None and time.monotonic() >= child.due:
                self._spawn(child)

    def restart(self, kinds: Iterable[str]) -> None:
        """Stop processes of these kinds, whatever their state, and start them at once. Kill those that don't exit."""
        wanted = set(kinds)
        children = [child for name, child in self.children.items() if kind_of(name) in wanted]
        for child in children:
            if child.process is not None:
                processes.send(child.process.pid, child.spec.stop_signal)
        deadline = time.monotonic() + RELOAD_WITHIN
        while waiting := self._waiting(children):
            if time.monotonic() > deadline or self.signals.requests:
                for child in waiting:
                    _kill(child)
            self.signals.wait(0.05)
        for child in children:
            child.delay = FIRST_DELAY
            self._spawn(child)

    def _spawn(self, child: Child) -> None:
        spec = child.spec
        spec.before()
        child.started = time.monotonic()
        with open(self.log(spec.name), "ab") as output:
            child.log_start = output.tell()
            try:
                child.process = processes.spawn(
                    spec.argv,
                    env={**spec.env, processes.MARK: self.mark},
                    cwd=self.cwd,
                    output=output,
                    death_signal=spec.stop_signal,
                    pass_fds=spec.pass_fds,
                )
            except OSError as error:
                self._failed(child, f"can't be started ({error})")
                return
        Record.of(child.process.pid, self.mark).write(self._record(spec.name))
        self.on_change()

    def _failed(self, child: Child, how: str, reason: str = "") -> None:
        """Schedule a restart; double the delay if the process failed soon after its start."""
        name = child.spec.name
        child.deaths += 1
        if self.starting and child.deaths >= FAILURES:
            raise SetupError(f"{name} {how}, {child.deaths} times:\n{self.tail(name)}")
        now = time.monotonic()
        if now - child.started > STEADY:
            child.delay = FIRST_DELAY
        say(f"{name} {how}{reason}; restarting it in {child.delay:.1f} s")
        child.due = now + child.delay
        child.delay = min(child.delay * 2, LONGEST_DELAY)

    def _reap(self, child: Child) -> int:
        """Reap a dead process after killing the rest of its group.

        While it is a zombie, the kernel gives its group number to no other process.
        """
        process = child.process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        self._record(child.spec.name).unlink(missing_ok=True)
        child.process = None
        return code

    def _record(self, name: str) -> Path:
        return self.var / "run" / f"{name}.pid"

    def _reason(self, child: Child) -> str:
        """Return the error that a process has logged since its start, or its last line, for a message."""
        with self.log(child.spec.name).open("rb") as log:
            log.seek(child.log_start)
            lines = log.read()[-200_000:].decode(errors="replace").splitlines()
        errors = [error for line in lines if (error := _logged_error(line))]
        reason = (errors or lines or [""])[-1].strip()
        return f" ({reason[:500]})" if reason else ""

    def tail(self, name: str, lines: int = 25) -> str:
        """Return the last lines of a process's log, indented."""
        text = self.log(name).read_bytes()[-20_000:].decode(errors="replace")
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def stop(self, phases: Iterable[Sequence[str]]) -> None:
        """Stop all processes phase by phase: one signal to each, then wait up to its budget and kill it.

        A further request to stop kills everything but servers at once; one more kills servers, too.
        """
        self.signals.acknowledge()
        for names in phases:
            self._end([self.children[name] for name in names if name in self.children])

    def _end(self, children: list[Child]) -> None:
        for child in children:
            if child.process is not None and not _ended(child.process):
                processes.send(child.process.pid, child.spec.stop_signal)
        begun = reported_at = time.monotonic()
        while waiting := self._waiting(children):
            now = time.monotonic()
            for child in waiting:
                self._insist(child, now - begun)
            if now - reported_at >= 2.0:
                reported_at = now
                for child in waiting:
                    patience = f"{now - begun:.0f} of at most {child.spec.budget:.0f} s; Ctrl-C doesn't wait"
                    say(f"Waiting: {child.spec.name} is {child.spec.waits_for} ({patience})")
            self.signals.wait(0.05)

    def _waiting(self, children: list[Child]) -> list[Child]:
        for child in children:
            if child.process is not None and _ended(child.process):
                self._reap(child)
        return [child for child in children if child.process is not None]

    def _insist(self, child: Child, waited: float) -> None:
        impatient = self.signals.requests >= (2 if child.spec.server else 1)
        if child.process is None or not (impatient or waited > child.spec.budget):
            return
        if waited > child.spec.budget:
            say(f"{child.spec.name} did not exit within {child.spec.budget:.0f} s; killing it")
        _kill(child)


def _logged_error(line: str) -> str:
    """Return the last line of the traceback in a line of JSON, or an empty text."""
    try:
        return str(json.loads(line)["exc_info"]).splitlines()[-1]
    except (ValueError, TypeError, KeyError, IndexError):
        return ""


def _kill(child: Child) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a command unless it has exited; kill it after 5 seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether the process has exited, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def describe(code: int) -> str:
    """Describe an exit status."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with status {code}"
