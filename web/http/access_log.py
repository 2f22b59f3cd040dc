"""The access log. All other logs go through `logging` (models/core/logs.py).

Lines are written in batches, which costs a tenth of writing each line. A killed process loses at most
`FLUSH_SECONDS` of lines.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from falcon.asgi import Request, Response

from models.core.context import RequestInfo

FLUSH_SECONDS = 0.2
FLUSH_LINES = 500

_encode = msgspec.json.Encoder().encode


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class AccessLog:
    """Writes one JSON line per request: route, status, time, size, ids; no URL, query, body or address."""

    def __init__(self, *, enabled: bool = True, out: Callable[[str], None] = _to_stderr) -> None:
        self._enabled = enabled
        self._out = out
        self._lines: list[bytes] = []
        self._flush_is_due = False

    def write(self, req: Request, resp: Response, info: RequestInfo) -> None:
        """Add one request. Runs in the event loop."""
        if not self._enabled:
            return
        self._lines.append(_line(req, resp, info))
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the buffered lines."""
        self._flush_is_due = False
        lines, self._lines = self._lines, []
        if lines:
            self._out(b"\n".join(lines).decode() + "\n")


def _line(req: Request, resp: Response, info: RequestInfo) -> bytes:
    identity = req.context.identity
    return _encode(
        {
            "level": "INFO",
            "logger": "web.access",
            "at": datetime.now(UTC),
            "method": req.method[:16],
            "route": req.uri_template,
            "status": resp.status_code,
            "ms": round((time.perf_counter() - req.context.started) * 1000, 2),
            "bytes": len(resp.data or b""),
            "user_id": identity.claims.get("sub") if identity is not None else None,
            "request_id": info.request_id,
            "correlation_id": info.correlation_id,
            "traceparent": info.traceparent,
        }
    )
