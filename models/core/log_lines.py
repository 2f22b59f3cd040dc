"""Batches of log lines for the frequent ones: one line for each request and for each job.

A batch costs a tenth of what `logging` costs for the same lines. A killed process loses the lines of the last
`FLUSH_SECONDS`.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

FLUSH_SECONDS = 0.2
"""Seconds for which a line may wait for others."""
FLUSH_LINES = 500
"""Lines that are written without further waiting."""
MAX_WRITE_BYTES = 4096
"""Processes share one pipe for their logs. The kernel mixes longer writes (PIPE_BUF of Linux)."""

_encode = msgspec.json.Encoder().encode


def to_stderr(text: str) -> None:
    """Write text to standard error."""
    sys.stderr.write(text)
    sys.stderr.flush()


class LogLines:
    """Buffer of JSON lines. Threads may share it."""

    def __init__(self, out: Callable[[str], None] = to_stderr) -> None:
        self._out = out
        self._lines: deque[bytes] = deque()
        self._lock = threading.Lock()

    def add(self, line: Any) -> int:
        """Add an object as one line. Return the number of buffered lines."""
        self._lines.append(_encode(line))
        return len(self._lines)

    def flush(self) -> None:
        """Write the buffered lines."""
        with self._lock:
            # Not `for line in self._lines`: other threads append meanwhile.
            for text in _writes([self._lines.popleft() for _ in range(len(self._lines))]):
                self._out(text)


def _writes(lines: Sequence[bytes]) -> Iterator[str]:
    """Yield the lines as texts of at most `MAX_WRITE_BYTES`, unless one line is longer."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) + 1 > MAX_WRITE_BYTES:
            yield b"\n".join(batch).decode() + "\n"
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield b"\n".join(batch).decode() + "\n"
