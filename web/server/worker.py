"""gunicorn's ASGI worker with timeouts, connection limits and problem documents.

Gunicorn 27's ASGI worker has only one timeout (idle between two requests) and no limit of connections. This worker
limits the time for a request's head, for reading an answer and for closing. If the process has the maximum number of
connections, the one that was idle for longest is closed for a new one, then the one with the oldest unfinished body.
One address holds half of the connections at most (docs/decisions/0019).
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus
from itertools import chain
from typing import Any

import msgspec
from gunicorn import glogging  # type: ignore[import-untyped]
from gunicorn.asgi import protocol as asgi_protocol  # type: ignore[import-untyped]
from gunicorn.asgi.parser import ParseError  # type: ignore[import-untyped]
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from models.core.messages import Message
from settings import settings
from web.http.client_address import Proxies, partition
from web.http.locales import best
from web.http.middleware import security_headers
from web.http.problems import PROBLEM_JSON, problem_document, problem_of_status
from web.http.request_metrics import count_refusal
from web.http.trace import new_id
from web.http.translations import LANGUAGES

HEAD_SECONDS = 10.0
"""Seconds from the start of a connection until the head of its first request is complete."""

HALF_CLOSED_SECONDS = 30.0
"""Seconds in which a client that closed its sending side is still answered."""

WRITE_SECONDS = 20.0
"""Seconds in which a client has to read `MIN_READ` bytes of a buffered answer."""

CLOSE_SECONDS = 10.0
"""Seconds in which a client has to read `MIN_READ` bytes, after the answer is complete and the connection closes."""

MIN_READ = 65_536
"""Bytes. Reading less is no progress, unless it is all that is buffered."""

MAX_FRAMING = 2048
"""Bytes of chunk sizes, extensions and trailers that each body may have."""

CONTENT_PER_FRAMING = 128
"""Bytes of content that allow one more byte of framing. Parsing a chunk costs as much as copying kilobytes."""

MAX_MESSAGE = 200
"""Maximum length of a message of gunicorn in an answer, in characters. It may quote the request."""

PROGRESS = 1024
"""Bytes of a body that count as progress."""

_PROXIES = Proxies(settings.trusted_proxies, settings.proxy_networks)

_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in security_headers(settings).items())


class Logger(glogging.Logger):  # type: ignore[misc]
    """Write no access log: `web.http.access_log` writes it, and gunicorn would add its own."""

    access_log_enabled = False


class ExcessiveFraming(ParseError):  # type: ignore[misc]
    """A chunked body has too much framing for its content."""


class Receiver(BodyReceiver):  # type: ignore[misc]
    """Deliver the body of a request in one piece per read, not chunk by chunk."""

    __slots__ = ()

    def _pop_chunk(self) -> Any:
        if len(self._chunks) > 1:
            joined = b"".join(self._chunks)
            self._chunks.clear()
            self._chunks.append(joined)
        return super()._pop_chunk()


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """HTTP connection with one client."""

    worker: "Worker"
    owner: str | None
    """Address or network whose connections are counted together; None for a proxy, which serves many clients."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the timeout of the first head. Refuse the connection if there is no room."""
        super().connection_made(transport)
        self._has_received = self._half_closed = False
        self._head_timer = self.worker.loop.call_later(HEAD_SECONDS, self._on_head_timeout)
        self._write_timer: asyncio.TimerHandle | None = None
        self._received = self._content = self._progressed = 0
        self.owner = _owner(transport)
        self.worker.owners[self] = self.owner
        if not self.worker.has_room(self.owner):
            self._send_error_response(503, "The server has too many connections. Try again.", [("Retry-After", "1")])
            self._keepalive_timeout()
        self.worker.idle[self] = None

    def close_for_room(self) -> None:
        """Close this connection, which has no complete request, at once."""
        self.worker.forget(self)
        self._keepalive_timeout()
        self._reset()

    def data_received(self, data: bytes) -> None:
        """Count received bytes and parse them."""
        self._has_received = True
        self._received += len(data)
        super().data_received(data)

    def eof_received(self) -> bool:
        """Handle a client that closed its sending side: it may still read the answer to its request."""
        self._half_closed = True
        if self._current_request is None:
            return False  # closes the connection
        if not self._body_receiver._complete:  # noqa: SLF001
            self._body_receiver.signal_disconnect()
        self._head_timer = self.worker.loop.call_later(HALF_CLOSED_SECONDS, self._close_transport)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from all counts."""
        self.worker.forget(self)
        self._head_timer.cancel()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the write timeout: the client reads more slowly than the answer is sent."""
        super().pause_writing()
        self._watch(WRITE_SECONDS)

    def resume_writing(self) -> None:
        """Stop the write timeout."""
        self._stop_watching()
        super().resume_writing()

    def _close_transport(self) -> None:
        # A closing transport stays open until its buffer is read, which some clients never do.
        if not self._closed:
            self._watch(CLOSE_SECONDS)
        super()._close_transport()

    def _watch(self, seconds: float) -> None:
        """Check after some seconds that the client has read enough of the buffer."""
        self._stop_watching()
        waiting = self.transport.get_write_buffer_size()
        self._write_timer = self.worker.loop.call_later(seconds, self._check_progress, seconds, waiting)

    def _stop_watching(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _check_progress(self, seconds: float, before: int) -> None:
        """Reset a client without progress; check the others again later."""
        if before - self.transport.get_write_buffer_size() < max(1, min(MIN_READ, before)):
            self._reset()
        else:
            self._watch(seconds)

    def _reset(self) -> None:
        """Reset the connection. After an ordinary close the kernel would keep the unread bytes."""
        if (connected := self.transport.get_extra_info("socket")) is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _arm_keepalive_timer(self) -> None:
        super()._arm_keepalive_timer()
        self.worker.idle[self] = None

    def _on_headers_complete(self) -> bool:
        self._head_timer.cancel()
        self.worker.idle.pop(self, None)
        super()._on_headers_complete()
        request = self._current_request
        self._body_receiver = Receiver(request, self)
        self._received, self._content, self._progressed = self._unparsed(), 0, 0
        if request.chunked or request.content_length:
            self.worker.add_unfinished(self, self._client())
        return False  # read the body of every method

    def _client(self) -> str:
        """Return the client of the current request, behind any proxy."""
        forwarded = b",".join(
            value for name, value in self._current_request.headers_bytes if name == b"x-forwarded-for"
        )
        return partition(_PROXIES.client_address(_peer(self.transport), forwarded.decode("latin-1"), report=False))

    def _unparsed(self) -> int:
        return len(self._callback_parser._buffer)  # noqa: SLF001

    def _on_body(self, chunk: bytes) -> None:
        self._content += len(chunk)
        self._require_content()
        super()._on_body(chunk)
        if self._content - self._progressed >= PROGRESS:
            self._progressed = self._content
            self.worker.progress(self)

    def _on_message_complete(self) -> None:
        self._require_content()
        self.worker.unfinished.pop(self, None)
        super()._on_message_complete()

    def _require_content(self) -> None:
        """Refuse a body that is mostly framing while it is parsed, before the rest costs time.

        Raises:
            ExcessiveFraming: chunk sizes, extensions and trailers are too long for their content.
        """
        framing = self._received - self._unparsed() - self._content
        if framing > MAX_FRAMING + self._content // CONTENT_PER_FRAMING:
            raise ExcessiveFraming("The chunks are too small: send larger ones.")

    def _is_websocket_upgrade(self, request: Any) -> bool:
        # There is no WebSocket. A server may ignore an upgrade (RFC 9110, section 7.8).
        return False

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        nothing_follows = self._half_closed and not self._callback_parser.remaining()
        # An answer before the whole body is a refusal: do not wait for the rest of the body.
        is_refused = not self._callback_parser.is_complete
        return nothing_follows or is_refused or bool(super()._will_close(request, response_requires_close))

    def _on_head_timeout(self) -> None:
        if self._has_received:
            self._send_error_response(408, Message("Send the whole head within {seconds:.0f} s.", seconds=HEAD_SECONDS))
        self._keepalive_timeout()

    def _send_error_response(self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()) -> None:
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.BAD_REQUEST.value  # an unknown transfer coding is the client's error
        count_refusal(problem_of_status(status).code)
        language = best(self._accept_language(), LANGUAGES)
        body = _problem(status, message, language)
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Content-Type: {PROBLEM_JSON}",
            f"Content-Language: {language}",
            "Vary: Accept-Language",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in extra_headers),
            "Connection: close",
        ]
        self._safe_write("\r\n".join([*lines, f"{_HEADERS}\r\n"]).encode("latin-1") + body)

    def _accept_language(self) -> str | None:
        """Return the client's languages; None if the head of its request is not complete, or not readable."""
        fields = self._current_request.headers_bytes if self._current_request is not None else ()
        found = [value for name, value in fields if name == b"accept-language"]
        return b",".join(found).decode("latin-1") or None


def _problem(status: int, message: str, language: str) -> bytes:
    short = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE]
    return msgspec.json.encode(problem_document(problem_of_status(status, short), new_id(), language))


def _peer(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _owner(transport: asyncio.Transport) -> str | None:
    peer = _peer(transport)
    return None if _PROXIES.is_proxy(peer) else partition(peer)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Process that serves the application."""

    idle: dict[Protocol, None]
    """Connections without a request, longest idle first."""

    unfinished: dict[Protocol, str]
    """Connections with an unfinished body and the client of each, longest without progress first."""

    owners: dict[Protocol, str | None]
    """The owner of each connection: address or network; None for a proxy."""

    def init_process(self) -> None:
        """Start the process with our protocol class in place of gunicorn's."""
        gasgi.ASGIProtocol = Protocol
        # Gunicorn has no phrase for some statuses, and would answer `412 Unknown`.
        asgi_protocol._REASON_PHRASES.update({status.value: status.phrase for status in HTTPStatus})  # noqa: SLF001
        self.idle, self.unfinished, self.owners = {}, {}, {}
        super().init_process()

    @property
    def share(self) -> int:
        """Return the maximum number of connections of one address."""
        return max(1, int(self.worker_connections) // 2)

    def has_room(self, owner: str | None) -> bool:
        """Return whether a new connection may stay. Close one without a complete request if necessary."""
        if owner is not None and _exceeds(self.owners, owner, self.share):
            return self._make_room(owner)
        return len(self.owners) <= self.worker_connections or self._make_room()

    def _make_room(self, owner: str | None = None) -> bool:
        """Close the least important connection without a complete request. Return False if there is none."""
        candidates = chain(self.idle, self.unfinished)
        closed = next((one for one in candidates if owner in (None, one.owner)), None)
        if closed is not None:
            closed.close_for_room()
        return closed is not None

    def add_unfinished(self, protocol: Protocol, client: str) -> None:
        """Record an unfinished body of a client. Close the client's oldest one if there are too many."""
        self.unfinished[protocol] = client
        if _exceeds(self.unfinished, client, self.share):
            next(one for one, other in self.unfinished.items() if other == client).close_for_room()

    def progress(self, protocol: Protocol) -> None:
        """Record that a part of the body has arrived."""
        if protocol in self.unfinished:
            self.unfinished[protocol] = self.unfinished.pop(protocol)

    def forget(self, protocol: Protocol) -> None:
        """Remove a connection from the counts."""
        for connections in (self.idle, self.unfinished, self.owners):
            connections.pop(protocol, None)


def _exceeds(connections: dict[Protocol, Any], owner: str, most: int) -> bool:
    return len(connections) > most and list(connections.values()).count(owner) > most
