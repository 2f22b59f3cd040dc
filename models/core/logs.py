"""JSON lines on standard error, without secrets and without people; the same in every process."""

import logging.config
import re
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from pythonjsonlogger.msgspec import MsgspecFormatter

from models.core.context import request_info

_SECRET = r"passw(?:or)?d|passphrase|secret|token|jwt|cookie|api_?key|authorization|assertion|otp"
_PERSONAL = (
    r"e-?mail|phone|address|full_name|lat|lon|lng|latitude|longitude|location|fingerprint|code_verifier|totp_code"
)
_NAME = rf"(?:[\w-]{{0,40}}(?:{_SECRET})|(?:[\w-]{{0,40}}[_-])?(?:{_PERSONAL}))s?"
"""Whatever stands under such a name is taken out."""

MOST = 20_000
"""Characters of one text that are kept."""

# Each begins at the beginning of a word or is bounded: what a client makes long must not make this slow.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PostgreSQL quotes rows: `Key (email)=(ann@example.com)`, `Failing row contains (1, ann@example.com)`.
    (re.compile(r"(?s)(\bKey \([^)]*\)=|\bFailing row contains ).*?\)(?= |\.|$|\n)"), r"\1([values])"),
    # So does it the statement, in which the driver has put the values, and what is no number.
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
    # 24 letters of base64url or more, in both cases and with a digit: a token of somebody's, named or not.
    (re.compile(r"(?<![\w/.-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{24,}={0,2}(?![\w/.])"), "[token]"),
)


def redact(text: str) -> str:
    """`text` without what must not leave the house: tokens, passwords, and what says who or where somebody is."""
    text = text if len(text) <= MOST else text[:MOST] + "…"
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redacted(value: Any) -> Any:
    """A value of a log line, with every text in it redacted, however deep."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(name): _redacted_as(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item) for item in value]
    return value if isinstance(value, int | float | None) else redact(str(value))


def _redacted_as(name: str, value: Any) -> Any:
    return "[secret]" if _SECRET_NAME.fullmatch(name) and value is not None else redacted(value)


_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)


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
        return {name: _redacted_as(name, value) for name, value in log_data.items()}


def config(level: str) -> dict[str, Any]:
    """The `logging.config.dictConfig` of a process whose every line is JSON on standard error."""
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
    """For who writes URLs and parameters at DEBUG."""
    return "INFO" if level.upper() in ("DEBUG", "NOTSET") else level


def configure(level: str) -> None:
    """Have this process log that way from now on, also what nobody has caught."""
    logging.config.dictConfig(config(level))
    log_uncaught()


def log_uncaught() -> None:
    """Write down what ends the process or one of its threads as everything else is, not as Python would."""
    sys.excepthook = _log_end
    threading.excepthook = lambda ended: _log_end(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _log_end(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("end").critical("unhandled %s", kind.__name__, exc_info=(kind, error, traceback))
