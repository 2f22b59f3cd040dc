"""JSON lines on standard error, without secrets and without people; the same in every process."""

import logging.config
import re
from typing import Any

from pythonjsonlogger.msgspec import MsgspecFormatter

from models.context import request_info

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), "Bearer [token]"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (
        re.compile(
            r"(?i)([\"']?\b[\w-]*(?:password|passwd|secret|token|api_?key|authorization)[\"']?\s*[:=]\s*)"
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
        "formatters": {"json": {"()": "models.logs.Formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            "apscheduler": {"level": "WARNING"},
        },
    }


def configure(level: str) -> None:
    """Have this process log that way from now on."""
    logging.config.dictConfig(config(level))
