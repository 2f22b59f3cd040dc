"""An API client that repeats a request until it is answered."""

import http.client
import json
import time
import uuid
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from scripts.devstack.progress import SetupError

TIMEOUT = 30.0
"""Seconds to wait for one answer."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further attempt."""
RETRY_STATUSES = frozenset({429, 502, 503, 504})


class Refused(SetupError):
    """The API refused the request. The message has the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api(Protocol):
    """The interface that the commands use."""

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request and return the decoded JSON response.

        Raises:
            Refused: the status is 400 or higher.
        """


class HttpApi:
    """The API at a URL, with an access token."""

    def __init__(self, base: str, token: str = "") -> None:
        url = urlsplit(base)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise SetupError(f"--api must be http://… or https://…, not {base!r}")
        self.base, self.token = base.rstrip("/"), token
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname, url.port, timeout=TIMEOUT)
        self._prefix = url.path.rstrip("/")

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request. An Idempotency-Key makes a repeated POST take effect once."""
        given = {name: value for name, value in query.items() if value is not None}
        target = self._prefix + quote(path) + ("?" + urlencode(given) if given else "")
        payload = None if body is None else json.dumps(body).encode()
        status, text = self._until_answered(method, target, payload, self._headers(payload))
        if status >= 400:
            raise Refused(status, _reason(status, text, f"{method} {path}"))
        return json.loads(text) if text else None

    def _headers(self, payload: bytes | None) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": "companon-scripts/1", "Idempotency-Key": str(uuid.uuid4())}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _until_answered(
        self, method: str, target: str, payload: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        problem = ""
        for pause in (*PAUSES, None):
            try:
                self._connection.request(method, target, payload, headers)
                answer = self._connection.getresponse()
                status, text = answer.status, answer.read().decode()
                if status not in RETRY_STATUSES or pause is None:
                    return status, text
                problem = f"{status} {text[:200]}"
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                problem = str(error) or type(error).__name__
            if pause is not None:
                time.sleep(pause)
        raise SetupError(f"{self.base} does not answer: {problem}")


def _reason(status: int, text: str, what: str) -> str:
    try:
        problem = json.loads(text)
        errors = "; ".join(f"{error['field']}: {error['reason']}" for error in problem.get("errors", []))
        reason = errors or problem.get("detail") or problem["title"]
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = text[:300]
    return f"{what}: {status} {reason}"
