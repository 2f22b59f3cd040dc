"""Logging of every process: JSON lines on standard error, with secrets and personal data redacted."""

import logging.config
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

from pythonjsonlogger.msgspec import MsgspecFormatter

from models.core.context import request_info

_SECRET = r"passw(?:or)?d|passphrase|secret|token|jwt|cookie|api_?key|authorization|assertion|otp"
_PERSONAL = (
    r"e-?mail|phone|address|full_name|lat|lon|lng|latitude|longitude|location|fingerprint|code_verifier|totp_code"
)
_NAME = rf"(?:[\w-]{{0,40}}(?:{_SECRET})|(?:[\w-]{{0,40}}[_-])?(?:{_PERSONAL}))s?"
"""Names of fields whose values are redacted."""

MAX_TEXT_CHARACTERS = 20_000
"""Longer texts are truncated."""

# Each pattern starts at a word boundary or is bounded: a long text from a client must not make it slow.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PostgreSQL quotes rows: `Key (email)=(ann@example.com)`, `Failing row contains (1, ann@example.com)`.
    (re.compile(r"(?s)(\bKey \([^)]*\)=|\bFailing row contains ).*?\)(?= |\.|$|\n)"), r"\1([values])"),
    # PostgreSQL quotes the statement, into which the driver has put the values, and texts of a wrong type.
    (re.compile(r"(?m)^(LINE \d{1,6}: ).*$"), r"\1[statement]"),
    (re.compile(r"(?s)(\binvalid (?:input )?(?:syntax|value) for [\w ]{1,60}: )\".*?\"(?=$|\n)"), r"\1[value]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 [token]"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (
        re.compile(
            rf"(?i)(?<![\w-])({_NAME}\\?[\"']?\s{{0,9}}[:=]\s{{0,9}})"
            r"(\\?\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\{[^}]*\}|\[[^\]]*\]|[^\s,;&})\]]+)"
        ),
        r"\1[secret]",
    ),
    (re.compile(r"(?<=://)[^/\s:@]{0,200}:[^/\s@]{1,200}(?=@)"), "[login]"),
    (re.compile(r"[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,9}[\w-]{2,63}"), "[e-mail]"),
    (re.compile(r"(?<![\w+])\+\d(?:[ ().-]?\d){7,14}(?!\w)"), "[phone]"),
    (re.compile(r"-?\b\d{1,3}\.\d{3,20}\s{0,3}[,; ]\s{0,3}-?\d{1,3}\.\d{3,20}\b"), "[position]"),
    # 24 or more base64url characters with both cases and a digit: a token, regardless of the name of its field.
    (re.compile(r"(?<![\w/.-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{24,}={0,2}(?![\w/.])"), "[token]"),
)


def redact(text: str) -> str:
    """Return `text` with secrets, personal data and positions replaced."""
    text = text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "…"
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redact_value(value: Any) -> Any:
    """Return a value of a log line with every text in it redacted, at any depth."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(name): _redacted_as(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    return value if isinstance(value, int | float | None) else redact(str(value))


def _redacted_as(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool) or value in ("yes", "no"):
        return value  # an answer about the field, such as `SUPABASE_CONFIRMS_EMAIL`: it contains nothing of it
    return "[secret]" if _SECRET_NAME.fullmatch(name) else redact_value(value)


_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)


def timestamp(moment: float) -> str:
    """Return a Unix time as every log line has it: RFC 3339, UTC, milliseconds (`2026-11-30T21:33:00.123Z`)."""
    second = int(moment)
    return f"{_second(second)}.{int((moment - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    # Busy processes log many lines within a second.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Formatter(MsgspecFormatter):
    """Format a record as one line of JSON, redacted, with the ids of the current request."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
        )

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Add the fields of the record and its time."""
        super().add_fields(log_data, record, message_dict)
        log_data["at"] = timestamp(record.created)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the ids of the request, and redact every text."""
        info = request_info()
        if info.request_id:
            log_data["request_id"] = info.request_id
            log_data["correlation_id"] = info.correlation_id
        return {name: _redacted_as(name, value) for name, value in log_data.items()}


def config(level: str) -> dict[str, Any]:
    """Return the argument of `logging.config.dictConfig` for JSON lines on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "models.core.logs.Formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {
                "level": _at_least_info(level),
                "handlers": [],
                "propagate": True,
            },
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            "apscheduler": {"level": "WARNING"},
            "peewee": {"level": _at_least_info(level)},
        },
    }


def _at_least_info(level: str) -> str:
    # Some libraries log URLs and parameters at DEBUG.
    return "INFO" if level.upper() in ("DEBUG", "NOTSET") else level


def configure(level: str) -> None:
    """Configure the logging of this process, including uncaught errors."""
    logging.config.dictConfig(config(level))
    logging.captureWarnings(True)
    log_uncaught()


def log_uncaught() -> None:
    """Log uncaught errors of the process and its threads as JSON, instead of Python's plain traceback."""
    sys.excepthook = _log_end
    threading.excepthook = lambda ended: _log_end(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _log_end(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("end").critical("unhandled %s", kind.__name__, exc_info=(kind, error, traceback))
