"""Print progress and durations to the terminal."""

import io
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

from models.core.texts import escape

HEARTBEAT = 10.0
"""Seconds between progress lines of a slow step, if the output isn't a terminal."""


class SetupError(Exception):
    """An error that the user has to act on. Its text is the whole message."""


class Output:
    """Destinations of output lines: the terminal, and later a log file or a waiting parent process."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # The terminal's encoding may lack ✗.
        self.streams: list[TextIO] = [sys.stdout]
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write one line unchanged to every stream. Drop streams without a reader."""
        with self._lock:
            self.streams = [stream for stream in self.streams if _written(stream, text + "\n")]

    @contextmanager
    def status(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that rewrites one status line; without a terminal it does nothing."""
        terminal = next((stream for stream in self.streams if stream.isatty()), None)
        if terminal is None:
            yield lambda _text: None
            return

        def show(text: str) -> None:
            with self._lock:
                _written(terminal, f"\r\x1b[2K{escape(text)[:110]}")

        yield show
        show("")


def _written(stream: TextIO, text: str) -> bool:
    """Return whether the stream accepted the text: a closed terminal or pipe must not stop the command."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


output = Output()


def say(text: str) -> None:
    """Print one line, escaped for a terminal: it may contain untrusted text."""
    output.line(escape(text, keep="\n\t"))


def fail(text: str) -> NoReturn:
    """Stop the command with a message.

    Raises:
        SetupError: always.
    """
    raise SetupError(text)


@contextmanager
def step(title: str) -> Iterator[deque[str]]:
    """Show a step while it runs, and then its duration. The body may append detail lines to the yielded deque."""
    started, ended = time.monotonic(), threading.Event()
    detail: deque[str] = deque(maxlen=40)
    with output.status() as show:
        ticker = threading.Thread(target=_tick, args=(title, started, ended, detail, show), daemon=True)
        ticker.start()
        try:
            yield detail
        finally:
            ended.set()
            ticker.join()
    say(f"  {title} ({time.monotonic() - started:.1f} s)")


def _tick(title: str, started: float, ended: threading.Event, detail: deque[str], show: Callable[[str], None]) -> None:
    said = started
    while not ended.wait(0.2):
        now = time.monotonic()
        latest = detail[-1] if detail else ""
        show(f"  {title} … {now - started:.0f} s  {latest}")
        if not sys.stdout.isatty() and now - said >= HEARTBEAT:
            said = now
            say(f"  {title} … {now - started:.0f} s")


def run(title: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None) -> None:
    """Run a command as a step.

    Raises:
        SetupError: the command failed; carries the end of its output.
    """
    code, tail = attempt(title, argv, env=env, cwd=cwd)
    if code != 0:
        fail(f"{title}: `{argv[0]}` failed with status {code}:\n" + "\n".join(f"    {line}" for line in tail))


def attempt(
    title: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> tuple[int, list[str]]:
    """Run a command as a step. Return its exit status and the last lines of its output."""
    with step(title) as detail:
        try:
            child = subprocess.Popen(
                argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            return 127, [str(error)]
        try:
            _collect(child, detail)
        except BaseException:
            _end(child)
            raise
    return child.returncode, list(detail)[-25:]


def _collect(child: "subprocess.Popen[bytes]", detail: deque[str]) -> None:
    assert child.stdout is not None
    for raw in child.stdout:
        line = raw.decode(errors="replace").rstrip()
        if line:
            detail.append(line)
    child.wait()


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Terminate an interrupted command; kill it after 30 seconds."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
