"""HTTP as a patient client speaks it: what failed for a moment is asked again, until the play's time is over."""

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
"""Seconds to wait for one answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two tries: doubled each time, with jitter."""
AWAY = frozenset({502, 503, 504})
"""Statuses that say «not now». So does 429 with the code below; other 429s are decisions."""
RATE_LIMITED = "rate_limited"


class GaveUp(Exception):
    """The demonstration can't go on; its text is for the person who watches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back in the end."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float
    """How long the try that was answered took."""
    tries: int

    @property
    def body(self) -> Any:
        """The JSON in it."""
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        return str(self.body.get("code", "")) if self.status >= 400 else ""


class Client:
    """One connection to one server, for one thread."""

    def __init__(self, base: str, *, until: float, source: str | None = None) -> None:
        """Speak to `base` until `until` (of `time.monotonic`), from the address `source` where that is possible."""
        url = urlsplit(base)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        self.until = until
        local = self.host.startswith("127.") and sys.platform == "linux"
        self.source = (source, 0) if source and local else None
        self.token = ""
        self.requests = self.tries = 0
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self.require("GET", path).body

    def post(self, path: str, body: Any, *, key: str = "") -> Any:
        """Send JSON and return the JSON that is answered; `key` makes it safe to be sent twice."""
        return self.require("POST", path, body, key=key).body

    def require(self, method: str, path: str, body: Any = None, *, key: str = "") -> Answer:
        """Like `ask`, where only success will do.

        Raises:
            GaveUp: it was refused; says what and why.
        """
        answer = self.ask(method, path, body, key=key)
        if answer.status >= 400:
            raise GaveUp(f"{method} {path} was answered with {answer.status}: {answer.text[:500]}")
        return answer

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Answer:
        """Send a request until it is answered with a decision.

        Raises:
            GaveUp: time is over, or the answer is a defect (500).
        """
        headers = self._headers(body, key)
        payload = None if body is None else json.dumps(body).encode()
        tries = 0
        self.requests += 1
        while True:
            tries += 1
            self.tries += 1
            kept, pause = self._connection is not None, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries - 1, 10))
            try:
                answer = self._once(method, path, payload, headers, tries)
                if not _not_now(answer):
                    return self._decided(method, path, answer)
                problem, pause = str(answer.status), float(answer.headers.get("retry-after", pause))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A connection that was kept may have been closed as idle just now; then a new one will do.
                problem, pause = str(error) or type(error).__name__, 0.0 if kept else pause
            self._pause(pause, f"{method} {path}: {problem}")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
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

    def _once(self, method: str, path: str, payload: bytes | None, headers: dict[str, str], tries: int) -> Answer:
        started = time.monotonic()
        response = self._exchange(method, path, payload, headers)
        text = response.read().decode()
        seconds = time.monotonic() - started
        if response.will_close:
            self.close()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, answered, text, seconds, tries)

    def _exchange(
        self, method: str, path: str, payload: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self.host, self.port, timeout=TIMEOUT, source_address=self.source
            )
        self._connection.request(method, path, payload, headers)
        return self._connection.getresponse()

    def _decided(self, method: str, path: str, answer: Answer) -> Answer:
        if answer.status >= 500:
            raise GaveUp(f"{method} {path} was answered with {answer.status}: {answer.text[:500]}")
        return answer

    def _pause(self, seconds: float, problem: str) -> None:
        if time.monotonic() + seconds >= self.until:
            raise GaveUp(f"no more time for another try of {problem}")
        time.sleep(seconds * random.uniform(0.5, 1.0))


def _not_now(answer: Answer) -> bool:
    return answer.status in AWAY or (answer.status == 429 and answer.code == RATE_LIMITED)
