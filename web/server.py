"""gunicorn's asgi worker, with problem documents where it answers a request itself (one that it can't read)."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from web.problems import CODES, PROBLEM_JSON
from web.trace import new_id

HEAD_SECONDS = 10.0
"""Seconds from a connection's beginning until its first request's head has to be there."""

LAST_WORD_SECONDS = 30.0
"""Seconds that a client which has nothing more to say is still answered in."""


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """Speaks HTTP with one client."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, and wait for the client's first request for so long and no longer."""
        super().connection_made(transport)
        self._has_spoken = self._has_ended = False
        self._late = self.worker.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        """The client says something."""
        self._has_spoken = True
        super().data_received(data)

    def eof_received(self) -> bool:
        """The client has nothing more to say. If it has asked for something, it may still be listening."""
        self._has_ended = True
        if self._current_request is None:
            return False  # closes the connection
        if not self._body_receiver._complete:  # noqa: SLF001
            self._body_receiver.signal_disconnect()
        self._late = self.worker.loop.call_later(LAST_WORD_SECONDS, self._close_transport)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._late.cancel()
        super().connection_lost(exc)

    def _on_headers_complete(self) -> bool:
        self._late.cancel()
        return bool(super()._on_headers_complete())

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        nothing_follows = self._has_ended and not self._callback_parser.remaining()
        return nothing_follows or bool(super()._will_close(request, response_requires_close))

    def _head_is_late(self) -> None:
        if self._has_spoken:
            self._send_error_response(408, f"No whole head within {HEAD_SECONDS:.0f} s.")
        self._keepalive_timeout()

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.BAD_REQUEST.value  # a transfer coding that nobody knows: not ours to mend
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
