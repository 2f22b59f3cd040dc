"""gunicorn's asgi worker, with problem documents where it answers a request itself (one that it can't read)."""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from web.problems import CODES, PROBLEM_JSON
from web.trace import new_id


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """Speaks HTTP with one client."""

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        body = _problem(status, message)
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Content-Type: {PROBLEM_JSON}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in extra_headers),
            "Connection: close",
        ]
        self._safe_write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def _problem(status: int, message: str) -> bytes:
    code = CODES.get(status, "internal" if status >= 500 else "bad_request")
    return msgspec.json.encode(
        {
            "type": f"urn:companon:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": message[:200],
            "request_id": new_id(),
        }
    )


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """One process that serves the application."""

    def init_process(self) -> None:
        """Begin, with our protocol in the place that the worker takes it from."""
        gasgi.ASGIProtocol = Protocol
        super().init_process()
