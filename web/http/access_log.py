"""The access log. All other logs of the web tier go through `logging` (models/core/logs.py)."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import lru_cache

from falcon.asgi import Request, Response

from models.core.context import RequestInfo
from models.core.log_lines import FLUSH_LINES, FLUSH_SECONDS, LogLines, to_stderr
from models.core.logs import timestamp
from web.http.client_address import network

MAX_SEGMENTS = 8
"""Segments of an unknown path in the log."""

_WORD = re.compile(r"[A-Za-z]?[a-z]{0,30}(?:[._-][A-Za-z]?[a-z]{1,30}){0,4}[0-9]{0,3}")
"""A segment that is a name, such as `wp-login.php` or `v1`. Tokens, ids, addresses and numbers don't match."""


class AccessLog:
    """Write one JSON line per request: route, status, time, size, ids, network; no query, body or address."""

    def __init__(self, *, enabled: bool = True, out: Callable[[str], None] = to_stderr) -> None:
        self._enabled = enabled
        self._lines = LogLines(out)
        self._flush_is_due = False

    def write(self, req: Request, resp: Response, info: RequestInfo) -> None:
        """Add one request. Runs in the event loop."""
        if not self._enabled:
            return
        if self._lines.add(_line(req, resp, info)) >= FLUSH_LINES:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the buffered lines."""
        self._flush_is_due = False
        self._lines.flush()


def _line(req: Request, resp: Response, info: RequestInfo) -> dict[str, object]:
    identity = req.context.identity
    line = {
        "level": "INFO",
        "logger": "web.access",
        "at": timestamp(time.time()),
        "method": req.method[:16],
        "route": req.uri_template,
        "status": resp.status_code,
        "ms": round((time.perf_counter() - req.context.started) * 1000, 2),
        "bytes": len(resp.data or b""),
        "client": network(info.address),
        "user_id": identity.claims.get("sub") if identity is not None else None,
        "request_id": info.request_id,
        "correlation_id": info.correlation_id,
        "traceparent": info.traceparent,
    }
    if req.uri_template is None:
        line["path"] = loggable_path(req.path)
    return line


@lru_cache(maxsize=256)
def loggable_path(path: str) -> str:
    """Return an unknown path with `*` for each segment that is no plain word, and cut if long.

    A known path needs none of this: its route is logged, without the values in it.
    """
    segments = path.lstrip("/").split("/")
    kept = [segment if _WORD.fullmatch(segment) else "*" for segment in segments[:MAX_SEGMENTS]]
    return "/" + "/".join(kept) + ("/…" if len(segments) > MAX_SEGMENTS else "")
