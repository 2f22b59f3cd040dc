"""Record answers with stable values: ids, times and secrets in the order of their appearance."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.contract.raw_client import Answer
from web.openapi.headers import OF_RECORDS

UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
SECRET_TEXT = re.compile(r"[A-Za-z0-9_-]{24,}(\.[A-Za-z0-9_-]{4,}){0,2}")
"""Tokens, keys, signatures and hashes: long runs of base64url or hexadecimal digits."""

ADDRESS_TEXT = re.compile(r"[0-9a-f]{32}@people\.example")
"""Unique addresses of the tests' people."""
PREFIXES = {"eyJ": "hbGciOiJFZERTQSJ9.", "cpk_": ""}
"""Beginnings of tokens that say what they are, and what follows in their replacements."""
NAMES = ("ana", "luis", "marta", "jorge")

FIRST_ID = 0x0199F3A8_6C1E_7D5B_9D0A_3F1B2C4D5E6F
FIRST_TIME = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
MAX_ITEMS = 2
"""Items of a list that a recording keeps."""
MAX_TEXT = 400
"""Characters of a text body that a recording keeps."""


class Recorder:
    """Replaces changing values. Equal values of one recorder have equal replacements."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._times: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def record(self, answer: Answer) -> dict[str, Any]:
        """Return status, headers and body of an answer with stable values."""
        headers = {name: answer.headers[name.lower()] for name in OF_RECORDS if name.lower() in answer.headers}
        return {
            "status": answer.status,
            "headers": {name: self._text(value) for name, value in headers.items()},
            "body": self._stable(_body(answer)),
        }

    def _stable(self, value: Any) -> Any:
        match value:
            case dict():
                return {self._text(name): self._stable(part) for name, part in value.items()}
            case list():
                return [self._stable(part) for part in value[:MAX_ITEMS]]
            case str():
                return self._text(value)
        return value

    def _text(self, text: str) -> str:
        text = ADDRESS_TEXT.sub(lambda found: self._address(found[0]), text)
        text = UUID_TEXT.sub(lambda found: self._id(found[0]), text)
        text = TIME_TEXT.sub(lambda found: self._time(found[0]), text)
        return SECRET_TEXT.sub(lambda found: self._secret(found[0]), text)

    def _id(self, text: str) -> str:
        return self._ids.setdefault(text, str(UUID(int=FIRST_ID + len(self._ids))))

    def _time(self, text: str) -> str:
        at = FIRST_TIME + timedelta(minutes=len(self._times))
        return self._times.setdefault(text, at.isoformat().replace("+00:00", "Z"))

    def _secret(self, text: str) -> str:
        if UUID_TEXT.search(text) or not any(character.isdigit() for character in text):
            return text
        number = len(self._secrets) + 1
        prefix = next((prefix for prefix in PREFIXES if text.startswith(prefix)), "")
        return self._secrets.setdefault(text, f"{prefix}{PREFIXES.get(prefix, '')}example-{number}")

    def _address(self, text: str) -> str:
        return self._addresses.setdefault(text, f"{NAMES[len(self._addresses) % len(NAMES)]}@people.example")


def _body(answer: Answer) -> Any:
    """Return the decoded body: JSON, the beginning of a text, or None for schemas, other types and no body."""
    media = answer.headers.get("content-type", "")
    if "json" in media and "schema" not in media:
        return answer.json
    return answer.body.decode()[:MAX_TEXT] if media.startswith(("text/", "image/svg")) else None


def shape(value: Any) -> Any:
    """Return the members of a body and its parts, without values. A list has the shape of its first item."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "scalar"


def dump(recordings: dict[str, Any]) -> str:
    """Return recordings as the text of their file."""
    return json.dumps(recordings, indent=1, ensure_ascii=False) + "\n"
