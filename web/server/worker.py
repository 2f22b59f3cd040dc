"""gunicorn's asgi worker with limits of its own, and problem documents where it answers a request itself.

Gunicorn 27's asgi worker waits for clients as long as they like, in every state but one (idle between two requests),
and takes any number of connections. Here a connection has so long for a request's head, for taking an answer, and for
going away; and when there are as many as may be, the one that has said nothing for longest makes room. A request whose
body has not arrived makes room too, and one customer holds half of the connections at most (docs/decisions/0019).
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
from gunicorn.asgi.parser import ParseError  # type: ignore[import-untyped]
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from settings import settings
from web.http.client_address import Proxies, partition
from web.http.middleware import security_headers
from web.http.problems import PROBLEM_JSON, problem_document, problem_of_status
from web.http.trace import new_id

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

FREE_FRAMING = 2048
"""Bytes of chunk sizes, extensions and trailers that every body may have."""

CONTENT_PER_FRAMING = 128
"""Bytes of content that allow one more byte of framing. Parsing a chunk costs as much as copying kilobytes."""

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
    """Speaks HTTP with one client."""

    worker: "Worker"
    customer: str | None
    """Address or network whose connections are counted together; None for a proxy, which carries all clients."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, and wait for the client's first request for so long and no longer."""
        super().connection_made(transport)
        self._has_spoken = self._has_ended = False
        self._late = self.worker.loop.call_later(HEAD_SECONDS, self._head_is_late)
        self._taking: asyncio.TimerHandle | None = None
        self._received = self._content = self._progressed = 0
        self.customer = _customer(transport)
        self.worker.customers[self] = self.customer
        if not self.worker.has_room(self.customer):
            self._send_error_response(503, "There are too many connections.", [("Retry-After", "1")])
            self._keepalive_timeout()
        self.worker.waiting[self] = None

    def give_way(self) -> None:
        """Close this connection, which has no whole request, at once."""
        self.worker.forget(self)
        self._keepalive_timeout()
        self._cut()

    def data_received(self, data: bytes) -> None:
        """The client says something."""
        self._has_spoken = True
        self._received += len(data)
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
        self.worker.forget(self)
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
        super()._on_headers_complete()
        request = self._current_request
        self._body_receiver = Receiver(request, self)
        self._received, self._content, self._progressed = self._unparsed(), 0, 0
        if request.chunked or request.content_length:
            self.worker.owe(self, self._client())
        return False  # the body is read, whatever the method

    def _client(self) -> str:
        """Return the customer that the current request comes from, behind any proxy."""
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
        self.worker.owing.pop(self, None)
        super()._on_message_complete()

    def _require_content(self) -> None:
        """Refuse a body that is mostly framing, in the middle of parsing: the rest would be parsed, too.

        Raises:
            ExcessiveFraming: there are too many chunks, or too long extensions or trailers, for their content.
        """
        framing = self._received - self._unparsed() - self._content
        if framing > FREE_FRAMING + self._content // CONTENT_PER_FRAMING:
            raise ExcessiveFraming("Too little content for so many chunks.")

    def _is_websocket_upgrade(self, request: Any) -> bool:
        # We have none. A server may answer as if nobody had asked (RFC 9110, section 7.8), and so the application does.
        return False

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        nothing_follows = self._has_ended and not self._callback_parser.remaining()
        # An answer before the whole body is a refusal: do not wait for the rest of the body.
        is_refused = not self._callback_parser.is_complete
        return nothing_follows or is_refused or bool(super()._will_close(request, response_requires_close))

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
    return msgspec.json.encode(problem_document(problem_of_status(status, message[:200]), new_id()))


def _peer(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _customer(transport: asyncio.Transport) -> str | None:
    peer = _peer(transport)
    return None if _PROXIES.is_proxy(peer) else partition(peer)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """One process that serves the application."""

    waiting: dict[Protocol, None]
    """Its connections without a request, the one that has been so for longest first."""

    owing: dict[Protocol, str]
    """Connections with an unfinished request body and the customer of each, longest without progress first."""

    customers: dict[Protocol, str | None]
    """The customer of each connection."""

    def init_process(self) -> None:
        """Begin, with our protocol in the place that the worker takes it from."""
        gasgi.ASGIProtocol = Protocol
        self.waiting, self.owing, self.customers = {}, {}, {}
        super().init_process()

    @property
    def share(self) -> int:
        """Connections that one customer may hold."""
        return max(1, int(self.worker_connections) // 2)

    def has_room(self, customer: str | None) -> bool:
        """Return whether one more connection may stay. Close another one without a whole request if necessary."""
        if customer is not None and _exceeds(self.customers, customer, self.share):
            return self._spare(customer)
        return len(self.customers) <= self.worker_connections or self._spare()

    def _spare(self, customer: str | None = None) -> bool:
        """Close the least important connection without a whole request; return False if there is none."""
        candidates = chain(self.waiting, self.owing)
        spared = next((one for one in candidates if customer in (None, one.customer)), None)
        if spared is not None:
            spared.give_way()
        return spared is not None

    def owe(self, protocol: Protocol, client: str) -> None:
        """Record an unfinished body of a client. Close the client's oldest one if there are too many."""
        self.owing[protocol] = client
        if _exceeds(self.owing, client, self.share):
            next(one for one, other in self.owing.items() if other == client).give_way()

    def progress(self, protocol: Protocol) -> None:
        """Record that a part of the body has arrived."""
        if protocol in self.owing:
            self.owing[protocol] = self.owing.pop(protocol)

    def forget(self, protocol: Protocol) -> None:
        """Remove a connection from the counts."""
        for connections in (self.waiting, self.owing, self.customers):
            connections.pop(protocol, None)


def _exceeds(connections: dict[Protocol, Any], customer: str, most: int) -> bool:
    return len(connections) > most and list(connections.values()).count(customer) > most
