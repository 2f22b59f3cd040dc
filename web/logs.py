"""JSON lines on standard error, without secrets and without people.

Everything but the access log goes through `logging` with one handler. The access log is written in batches:
a line costs microseconds instead of tens of them, and at most `FLUSH_SECONDS` of lines are lost by a kill.
"""

import asyncio
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from falcon.asgi import Request, Response
from pythonjsonlogger.msgspec import MsgspecFormatter

from models.context import RequestInfo, request_info

FLUSH_SECONDS = 0.2
FLUSH_LINES = 500

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), "Bearer [token]"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (
        re.compile(
            r"(?i)(\"?\b[\w-]*(?:password|passwd|secret|token|api_?key|authorization)\"?\s*[:=]\s*)"
            r"(\"[^\"]*\"|'[^']*'|[^\s,;&}\]]+)"
        ),
        r"\1[secret]",
    ),
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), "[login]"),
    (re.compile(r"\b[\w.%+-]+@[\w-]+(?:\.[\w-]+)+\b"), "[e-mail]"),
)


def redact(text: str) -> str:
    """`text` without tokens, passwords and e-mail addresses."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Formatter(MsgspecFormatter):
    """One JSON object a line, redacted, with the ids of the request that is being worked on."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="at",
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the ids, and redact every text."""
        info = request_info()
        if info.request_id:
            log_data["request_id"] = info.request_id
            log_data["correlation_id"] = info.correlation_id
        return {name: redact(value) if isinstance(value, str) else value for name, value in log_data.items()}


def config(level: str) -> dict[str, Any]:
    """The `logging.config.dictConfig` of a process whose every line is JSON on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "web.logs.Formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class AccessLog:
    """One JSON line a request: route, status, time, sizes, ids; no query string, no body, no address."""

    def __init__(self, *, enabled: bool = True, out: Callable[[str], None] = _to_stderr) -> None:
        self._enabled = enabled
        self._out = out
        self._lines: list[bytes] = []
        self._flush_is_due = False
        self._encode = msgspec.json.Encoder().encode

    def write(self, req: Request, resp: Response, info: RequestInfo) -> None:
        """Note one request; has to be called in the event loop."""
        if not self._enabled:
            return
        identity = req.context.identity
        user_id = identity.claims.get("sub") if identity is not None else None
        self._lines.append(
            self._encode(
                {
                    "level": "INFO",
                    "logger": "web.access",
                    "at": time.time(),
                    "method": req.method[:16],
                    "route": req.uri_template,
                    "status": resp.status_code,
                    "ms": round((time.perf_counter() - req.context.started) * 1000, 2),
                    "bytes": len(resp.data or b""),
                    "user_id": user_id,
                    "request_id": info.request_id,
                    "correlation_id": info.correlation_id,
                    "traceparent": info.traceparent,
                }
            )
        )
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write down what is waiting."""
        self._flush_is_due = False
        lines, self._lines = self._lines, []
        if lines:
            self._out(b"\n".join(lines).decode() + "\n")


def configure(level: str) -> None:
    """Make this process log JSON (gunicorn does it through its own configuration)."""
    import logging.config

    logging.config.dictConfig(config(level))
