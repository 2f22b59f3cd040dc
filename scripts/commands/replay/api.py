"""The API as a patient client speaks it: what may be repeated is, until there is an answer."""

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
"""Seconds before each further try."""
NOT_NOW = frozenset({429, 502, 503, 504})


class Refused(SetupError):
    """The API said no; its text is why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api(Protocol):
    """What the commands ask."""

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON that is answered.

        Raises:
            Refused: no.
        """


class HttpApi:
    """The API at a URL, as the person whose token it is."""

    def __init__(self, base: str, token: str = "") -> None:
        url = urlsplit(base)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise SetupError(f"--api is http://… or https://…, not {base!r}")
        self.base, self.token = base.rstrip("/"), token
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname, url.port, timeout=TIMEOUT)
        self._prefix = url.path.rstrip("/")

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """See `Api`. A POST carries a key, so that a repeated one happens once."""
        asked = {name: value for name, value in query.items() if value is not None}
        target = self._prefix + quote(path) + ("?" + urlencode(asked) if asked else "")
        payload = None if body is None else json.dumps(body).encode()
        status, text = self._until_answered(method, target, payload, self._headers(payload))
        if status >= 400:
            raise Refused(status, _why(status, text, f"{method} {path}"))
        return json.loads(text) if text else None

    def _headers(self, payload: bytes | None) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": "companon-replay/1", "Idempotency-Key": str(uuid.uuid4())}
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
                if status not in NOT_NOW or pause is None:
                    return status, text
                problem = f"{status} {text[:200]}"
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                problem = str(error) or type(error).__name__
            if pause is not None:
                time.sleep(pause)
        raise SetupError(f"{self.base} does not answer: {problem}")


def _why(status: int, text: str, what: str) -> str:
    try:
        problem = json.loads(text)
        errors = "; ".join(f"{error['field']}: {error['reason']}" for error in problem.get("errors", []))
        said = errors or problem.get("detail") or problem["title"]
    except (ValueError, KeyError, TypeError, AttributeError):
        said = text[:300]
    return f"{what}: {status} {said}"
