"""HTTP client that repeats requests after temporary failures, until the time of the run is over."""

import http.client
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 10.0
"""Seconds to wait for one response."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two attempts: doubled each time, with jitter."""
TEMPORARY = frozenset({502, 503, 504})
"""Statuses of temporary failures. 429 with the code below is one, too; other 429s are decisions."""
RATE_LIMITED = "rate_limited"


class DemoFailed(Exception):
    """The demonstration can't continue. The message is shown to the user."""


@dataclass(frozen=True, slots=True)
class Response:
    """The final response to a request."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float
    """Duration of the last attempt."""
    attempts: int

    @property
    def body(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        """The `code` of an error, else empty."""
        return str(self.body.get("code", "")) if self.status >= 400 else ""


class Client:
    """A client with one connection, for one thread."""

    def __init__(self, base: str, *, until: float, source: str | None = None) -> None:
        """Send requests to `base` until `until` (of `time.monotonic`), on Linux from the local address `source`."""
        url = urlsplit(base)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        self.until = until
        local = self.host.startswith("127.") and sys.platform == "linux"
        self.source = (source, 0) if source and local else None
        self.token = ""
        self.requests = self.attempts = 0
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> Any:
        """Return the JSON at `path`."""
        return self.require("GET", path).body

    def post(self, path: str, body: Any, *, key: str = "") -> Any:
        """Send JSON and return the JSON of the response. `key`: the `Idempotency-Key`."""
        return self.require("POST", path, body, key=key).body

    def require(self, method: str, path: str, body: Any = None, *, key: str = "") -> Response:
        """Send a request and require success.

        Raises:
            DemoFailed: the request was refused.
        """
        response = self.send(method, path, body, key=key)
        if response.status >= 400:
            raise DemoFailed(f"{method} {path} returned {response.status}: {response.text[:500]}")
        return response

    def send(self, method: str, path: str, body: Any = None, *, key: str = "") -> Response:
        """Send a request until its response is a decision.

        Raises:
            DemoFailed: the time is over, or the response is a server error (500).
        """
        headers = self._headers(body, key)
        payload = None if body is None else json.dumps(body).encode()
        attempts = 0
        self.requests += 1
        while True:
            attempts += 1
            self.attempts += 1
            reused, pause = self._connection is not None, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 10))
            try:
                response = self._once(method, path, payload, headers, attempts)
                if not _is_temporary(response):
                    return self._require_no_defect(method, path, response)
                problem, pause = str(response.status), float(response.headers.get("retry-after", pause))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # The server may have closed an idle connection: repeat at once with a new one.
                problem, pause = str(error) or type(error).__name__, 0.0 if reused else pause
            self._pause(pause, f"{method} {path}: {problem}")

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _headers(self, body: Any, key: str) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": "companon-demo/1"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = key
        return headers

    def _once(self, method: str, path: str, payload: bytes | None, headers: dict[str, str], attempts: int) -> Response:
        started = time.monotonic()
        response = self._exchange(method, path, payload, headers)
        text = response.read().decode()
        seconds = time.monotonic() - started
        if response.will_close:
            self.close()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, fields, text, seconds, attempts)

    def _exchange(
        self, method: str, path: str, payload: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self.host, self.port, timeout=TIMEOUT, source_address=self.source
            )
        self._connection.request(method, path, payload, headers)
        return self._connection.getresponse()

    def _require_no_defect(self, method: str, path: str, response: Response) -> Response:
        if response.status >= 500:
            raise DemoFailed(f"{method} {path} returned {response.status}: {response.text[:500]}")
        return response

    def _pause(self, seconds: float, problem: str) -> None:
        if time.monotonic() + seconds >= self.until:
            raise DemoFailed(f"no time is left to repeat {problem}")
        time.sleep(seconds * random.uniform(0.5, 1.0))


def _is_temporary(response: Response) -> bool:
    return response.status in TEMPORARY or (response.status == 429 and response.code == RATE_LIMITED)
