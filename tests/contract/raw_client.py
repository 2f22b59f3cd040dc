"""Send requests to the application as gunicorn would pass them on, without a socket.

A client library would repair or refuse most of these requests.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.fixtures.web import Client

Headers = tuple[tuple[str, str | bytes], ...]

_addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count(1))
"""Client addresses. Rate limits count by address, so each request gets its own unless it sets one."""


@dataclass(frozen=True)
class Request:
    """A request. `more`: the body's parts after the first. `cut`: the client disconnects after them."""

    method: str
    target: str | bytes
    headers: Headers = ()
    body: bytes = b""
    more: Sequence[bytes] = ()
    cut: bool = False
    address: str | None = None

    def with_headers(self, *added: tuple[str, str | bytes], without: Sequence[str] = ()) -> "Request":
        """Return a copy with header fields that replace those of the same name."""
        gone = {name.lower() for name, _ in added} | {name.lower() for name in without}
        kept = tuple((name, value) for name, value in self.headers if name.lower() not in gone)
        return replace(self, headers=(*kept, *added))

    def scope(self) -> dict[str, Any]:
        """Return the ASGI scope that gunicorn would pass on."""
        target = self.target if isinstance(self.target, bytes) else self.target.encode("latin-1")
        path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), _bytes(value)) for name, value in (HOST, *self.headers)],
            "server": ("127.0.0.1", 8000),
            "client": (self.address or next(_addresses), 50_000),
        }


HOST = ("Host", "api.example")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


@dataclass
class Answer:
    """An answer. `crash`: an exception that the application raised; gunicorn would answer 500."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    crash: Exception | None = None

    @property
    def json(self) -> Any:
        """Return the JSON body; None if it isn't JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self) -> str | None:
        """Return the problem's code; None if the body is no problem document."""
        document = self.json
        return document.get("code") if isinstance(document, dict) else None

    @property
    def fields(self) -> list[str]:
        """Return the fields that the problem names."""
        document = self.json
        errors = document.get("errors", []) if isinstance(document, dict) else []
        return [error["field"] for error in errors]


class RawClient:
    """Sends requests to the application, one after another."""

    def __init__(self, client: Client) -> None:
        self._app = client._conductor.app
        self._client = client

    def send(self, request: Request) -> Answer:
        """Send one request."""
        return self.send_all([request])[0]

    def send_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests one by one within the event loop."""

        async def all_of_them() -> Any:
            return [await self._exchange(request) for request in requests]

        return self._client._await(all_of_them())

    async def _exchange(self, request: Request) -> Answer:
        answer = Answer()
        parts = [request.body, *request.more]
        events = [
            {"type": "http.request", "body": part, "more_body": request.cut or number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]

        async def receive() -> dict[str, Any]:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                answer.status = event["status"]
                answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in event["headers"]}
            elif event["type"] == "http.response.body":
                answer.body += event.get("body", b"")

        try:
            async with asyncio.timeout(60):
                await self._app(request.scope(), receive, send)
        except Exception as crash:
            answer.status, answer.crash = 500, crash
        return answer
