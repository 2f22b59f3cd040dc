"""HTTP requests to other servers, with one deadline and one size limit that no answer can lift.

The deadline covers name look-up, connect, TLS handshake, request and answer, whatever the framing. Every socket
operation gets the time that is left, so a server that sends one byte at a time gains nothing. Redirects are not
followed. An answer that was cut off is an error.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, urlsplit

LOOK_UPS = 8
"""Name look-ups of one process at the same time. A look-up can't be interrupted, only left behind."""
FRAMING_BYTES = 65_536
"""Bytes that an answer may have besides its content: status line, headers and chunk sizes."""

_look_ups = threading.BoundedSemaphore(LOOK_UPS)


class NotFetched(Exception):
    """The answer has another status than 200, is too large, or is incomplete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def fetch(url: str, *, timeout: float, most: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a 200.

    Args:
        url: `http:` or `https:`.
        timeout: seconds that the whole request may take.
        most: bytes that the content may have.
        headers: request headers.

    Raises:
        NotFetched: the status is not 200, or the answer is too large or incomplete.
        OSError, http.client.HTTPException: the server can't be reached, is too slow, or doesn't speak HTTP.
    """
    answer = request("GET", url, timeout=timeout, most=most, headers=headers)
    if answer.status != 200:
        raise NotFetched(f"status {answer.status}")
    return answer.content


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    most: int,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request and return its whole answer. Certificates are verified; redirects are answers.

    Args:
        method: e.g. `PUT`.
        url: `http:` or `https:`.
        timeout: seconds that the whole request may take.
        most: bytes that the content of the answer may have.
        content: body of the request.
        headers: request headers.

    Raises:
        NotFetched: the answer is too large or incomplete.
        OSError, http.client.HTTPException: the server can't be reached, is too slow, or doesn't speak HTTP.
    """
    parts = urlsplit(url)
    connection = _Connection(parts, _Deadline(timeout), most + FRAMING_BYTES)
    try:
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request(method, target, content, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), _whole(answer, most, parts.scheme == "https"))
    finally:
        connection.hang_up()


def _whole(answer: http.client.HTTPResponse, most: int, encrypted: bool) -> bytes:
    length = answer.length  # http.client sets it to None for chunks and for an answer that ends with the connection
    if length is None and not answer.chunked and not encrypted:
        # Only TLS marks the end of a connection (close_notify). Without the mark, a cut answer looks complete.
        raise NotFetched("an answer without a length")
    try:
        content = answer.read(most + 1)
    except http.client.IncompleteRead as error:
        raise NotFetched("a part of the answer only") from error
    if len(content) > most:
        raise NotFetched(f"more than {most} bytes")
    if length is not None and len(content) < length:
        raise NotFetched("a part of the answer only")
    return content


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than 0.

        Raises:
            TimeoutError: none are left.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the answer takes too long")
        return seconds


class _Connection(http.client.HTTPConnection):
    """One request to one server over a wire with a deadline."""

    def __init__(self, parts: SplitResult, deadline: _Deadline, most: int) -> None:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotFetched("the URL is neither http: nor https:")
        self.default_port = 443 if parts.scheme == "https" else 80
        super().__init__(parts.hostname, parts.port or self.default_port)
        self._encrypted = parts.scheme == "https"
        self._deadline, self._most = deadline, most
        self._opened: socket.socket | None = None

    def connect(self) -> None:
        """See `HTTPConnection`."""
        self._opened = _open(self.host, self.port, self._deadline)
        if self._encrypted:
            self._opened.settimeout(self._deadline.left())  # one timeout for all messages of the handshake
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            # Python ignores a missing close_notify by default. Then a cut answer would look complete.
            context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
            self._opened = context.wrap_socket(self._opened, server_hostname=self.host, suppress_ragged_eofs=False)
        self.sock: Any = _Wire(self._opened, self._deadline, self._most)

    def hang_up(self) -> None:
        """Close the socket. `close` doesn't: `http.client` calls it before it reads an answer without a length."""
        if self._opened is not None:
            self._opened.close()


def _open(host: str, port: int, deadline: _Deadline) -> socket.socket:
    """Connect to the first address that answers; each gets an equal part of the time that is left."""
    found = _addresses(host, port, deadline)
    failure: OSError = OSError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(deadline.left() / (len(found) - number))
            opened.connect(address)
            return opened
        except OSError as error:
            opened.close()
            failure = error
    raise failure


def _addresses(host: str, port: int, deadline: _Deadline) -> list[Any]:
    """Look up a name in a thread that is left behind when it takes too long."""
    places = _look_ups
    if not places.acquire(timeout=deadline.left()):
        raise TimeoutError(f"{LOOK_UPS} name look-ups are still running")
    found: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.put(error)
        finally:
            places.release()

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        result = found.get(timeout=deadline.left())
    except Empty:
        raise TimeoutError(f"the look-up of {host} takes too long") from None
    if isinstance(result, Exception):
        raise result
    return result


class _Wire:
    """A connected socket as `http.client` uses one: each operation gets the time that is left, and bytes are counted.

    Python's own timeout of a socket begins again with each byte.
    """

    def __init__(self, opened: socket.socket, deadline: _Deadline, most: int) -> None:
        self._socket, self._deadline, self._left = opened, deadline, most

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the stream of the answer. Closing the connection ends it."""
        return io.BufferedReader(_Reading(self))

    def sendall(self, data: bytes) -> None:
        """Send all bytes of `data`."""
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._deadline.left())
            rest = rest[self._socket.send(rest) :]

    def receive(self, buffer: Any) -> int:
        """Receive some bytes; 0 at the end.

        Raises:
            NotFetched: the answer is too large.
        """
        self._socket.settimeout(self._deadline.left())
        received = self._socket.recv_into(buffer)
        self._left -= received
        if self._left < 0:
            raise NotFetched("the answer is too large")
        return received

    def close(self) -> None:
        """Leave the socket open; see `hang_up`."""


class _Reading(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)
