"""gunicorn's asgi worker with limits of its own, and problem documents where it answers a request itself.

Gunicorn 27's asgi worker waits for clients as long as they like, in every state but one (idle between two requests),
and takes any number of connections. Here a connection has so long for a request's head, for taking an answer, and for
going away; and when there are as many as may be, the one that has said nothing for longest makes room.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from gunicorn import glogging  # type: ignore[import-untyped]
from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from settings import settings
from web.middleware import security_headers
from web.problems import PROBLEM_JSON, document_of, of_status
from web.trace import new_id

HEAD_SECONDS = 10.0
"""Seconds from a connection's beginning until its first request's head has to be there."""

LAST_WORD_SECONDS = 30.0
"""Seconds that a client which has nothing more to say is still answered in."""


TAKE_SECONDS = 20.0
"""Seconds that a client may take next to nothing of an answer, while more of it waits than the network holds."""

CLOSE_SECONDS = 10.0
"""The same, once all has been said and the connection is to be closed."""

LEAST_TAKEN = 65_536
"""Bytes: less is next to nothing, unless it is all that waits."""

_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in security_headers(settings).items())


class Logger(glogging.Logger):  # type: ignore[misc]
    """Without an access log: web.logs has that, and gunicorn prepares one whenever it is told how to log at all."""

    access_log_enabled = False


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """Speaks HTTP with one client."""

    worker: "Worker"

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, and wait for the client's first request for so long and no longer."""
        super().connection_made(transport)
        self._has_spoken = self._has_ended = False
        self._late = self.worker.loop.call_later(HEAD_SECONDS, self._head_is_late)
        self._taking: asyncio.TimerHandle | None = None
        if self.worker.nr_conns > self.worker.worker_connections:
            self._make_room()
        self.worker.waiting[self] = None

    def _make_room(self) -> None:
        """Close the connection that has been without a request for longest, or this one if all of them have one.

        So whoever opens many connections and says nothing, or little, is in nobody's way.
        """
        longest = next(iter(self.worker.waiting), None)
        if longest is not None:
            longest.give_way()
            return
        self._send_error_response(503, "There are too many connections.", [("Retry-After", "1")])
        self._keepalive_timeout()

    def give_way(self) -> None:
        """Close this connection, which has no request, at once."""
        self.worker.waiting.pop(self, None)
        self._keepalive_timeout()
        self._cut()

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
        self.worker.waiting.pop(self, None)
        self._late.cancel()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client doesn't take what we say as fast as we say it: it has so long to take some of it."""
        super().pause_writing()
        self._watch(TAKE_SECONDS)

    def resume_writing(self) -> None:
        """The client has taken enough for us to go on."""
        self._stop_watching()
        super().resume_writing()

    def _close_transport(self) -> None:
        # What is closed stays open until all has been taken, and some clients never take it.
        if not self._closed:
            self._watch(CLOSE_SECONDS)
        super()._close_transport()

    def _watch(self, seconds: float) -> None:
        """See to it that the client takes some of what waits for it."""
        self._stop_watching()
        waiting = self.transport.get_write_buffer_size()
        self._taking = self.worker.loop.call_later(seconds, self._look, seconds, waiting)

    def _stop_watching(self) -> None:
        if self._taking is not None:
            self._taking.cancel()

    def _look(self, seconds: float, before: int) -> None:
        """Let go a client that has taken next to nothing, and have a look at any other again later."""
        if before - self.transport.get_write_buffer_size() < max(1, min(LEAST_TAKEN, before)):
            self._cut()
        else:
            self._watch(seconds)

    def _cut(self) -> None:
        """Reset the connection: closed in peace, the kernel would go on keeping what the client doesn't take."""
        if (connected := self.transport.get_extra_info("socket")) is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _arm_keepalive_timer(self) -> None:
        super()._arm_keepalive_timer()
        self.worker.waiting[self] = None

    def _on_headers_complete(self) -> bool:
        self._late.cancel()
        self.worker.waiting.pop(self, None)
        return bool(super()._on_headers_complete())

    def _is_websocket_upgrade(self, request: Any) -> bool:
        # We have none. A server may answer as if nobody had asked (RFC 9110, section 7.8), and so the application does.
        return False

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
        self._safe_write("\r\n".join([*lines, f"{_HEADERS}\r\n"]).encode("latin-1") + body)


def _problem(status: int, message: str) -> bytes:
    return msgspec.json.encode(document_of(of_status(status, message[:200]), new_id()))


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """One process that serves the application."""

    waiting: dict[Protocol, None]
    """Its connections without a request, the one that has been so for longest first."""

    def init_process(self) -> None:
        """Begin, with our protocol in the place that the worker takes it from."""
        gasgi.ASGIProtocol = Protocol
        self.waiting = {}
        super().init_process()
