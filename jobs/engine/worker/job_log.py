"""The log of a worker process: one line for each attempt of a job that has ended."""

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

import msgspec

from jobs.engine.ledger import Claim
from models.core.log_lines import FLUSH_LINES, FLUSH_SECONDS, LogLines, to_stderr
from models.core.logs import timestamp

log = logging.getLogger("jobs")


class _Line(msgspec.Struct, kw_only=True):
    level: str = "INFO"
    logger: str = log.name
    at: str
    message: str
    actor: str
    job_id: UUID
    brand_id: UUID | None
    attempt: int
    ms: float
    outcome: str
    request_id: str | None
    correlation_id: str | None
    traceparent: str | None


class JobLog:
    """Write one JSON line for each attempt. A thread of its own writes them in batches."""

    def __init__(self, out: Callable[[str], None] = to_stderr) -> None:
        self._lines = LogLines(out)
        self._has_lines = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, claim: Claim, outcome: str, seconds: float) -> None:
        """Add one attempt: its outcome, and the seconds that it took."""
        if not log.isEnabledFor(logging.INFO):
            return
        line = _Line(
            at=timestamp(time.time()),
            message=f"{claim.actor} {outcome}",
            actor=claim.actor,
            job_id=claim.id,
            brand_id=claim.brand_id,
            attempt=claim.attempts,
            ms=round(seconds * 1000, 2),
            outcome=outcome,
            request_id=claim.request_id,
            correlation_id=claim.correlation_id,
            traceparent=claim.traceparent,
        )
        waiting = self._lines.add(line)
        if waiting >= FLUSH_LINES:
            self._lines.flush()
        elif not self._has_lines.is_set():
            self._has_lines.set()

    def open(self) -> None:
        """Start the thread that writes the lines."""
        self._thread = threading.Thread(target=self._flush_repeatedly, name="job-log", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Write the buffered lines."""
        self._lines.flush()

    def _flush_repeatedly(self) -> None:
        while True:
            self._has_lines.wait()
            time.sleep(FLUSH_SECONDS)
            self._has_lines.clear()
            self._lines.flush()
