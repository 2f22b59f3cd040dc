"""HTTP requests to other servers, with one deadline and one size limit for the whole exchange.

httpcore2 speaks HTTP/1.1. Its time limits begin again with each byte and it has no size limit. The network backend of
this module adds both: each socket operation gets the time that is left, and received bytes are counted. The deadline
covers name look-up, connect, TLS handshake, request and response.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import httpcore2

LOOK_UPS = 8
"""Concurrent name look-ups of one process. A look-up can't be interrupted, only abandoned."""
FRAMING_BYTES = 65_536
"""Bytes that a response may have besides its content: status line, headers and chunk sizes."""

_look_ups = threading.BoundedSemaphore(LOOK_UPS)


class FetchError(OSError):
    """The server broke the protocol, or its response is too large, incomplete or not a 200."""


class AddressRefused(FetchError):
    """The server's name resolves to an address that the caller does not allow."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of any status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def fetch(url: str, *, timeout: float, max_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a 200 response.

    Args:
        url: `http:` or `https:` URL.
        timeout: seconds for the whole request.
        max_bytes: maximum size of the content.
        headers: request headers.

    Raises:
        FetchError: the response is not a 200, too large, incomplete or not HTTP.
        OSError: the server can't be reached or exceeds the timeout.
    """
    response = request("GET", url, timeout=timeout, max_bytes=max_bytes, headers=headers)
    if response.status != 200:
        raise FetchError(f"status {response.status}")
    return response.content


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    max_bytes: int,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allows: Callable[[str], bool] = lambda address: True,
    is_cut: bool = False,
) -> Response:
    """Send a request and return the response.

    Certificates are verified. Redirects are returned, not followed. Proxies of the environment are not used.

    Args:
        method: HTTP method, e.g. `PUT`.
        url: `http:` or `https:` URL.
        timeout: seconds for the whole request.
        max_bytes: maximum size of the response's content.
        content: request body.
        headers: request headers.
        allows: whether a numeric address may be called. The name is resolved once, and the connection goes to an
            address that was checked, so the name can't be bound to another one in between.
        is_cut: whether the content may be cut at `max_bytes`, and be incomplete in other ways: the status alone
            counts for the caller.

    Raises:
        AddressRefused: `allows` refuses an address of the server.
        FetchError: the response is too large, incomplete or not HTTP.
        OSError: the server can't be reached or exceeds the timeout.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError("the URL is neither http: nor https:")
    is_encrypted = parts.scheme == "https"
    # A server may compress only if the request allows it. Compressed content would pass the size limit.
    sent = {
        "Host": parts.netloc.rpartition("@")[2],
        "Accept-Encoding": "identity",
        **(headers or {}),
    }
    target = httpcore2.URL(url)
    connection = httpcore2.HTTPConnection(
        target.origin,
        ssl_context=_tls_context() if is_encrypted else None,
        network_backend=_Backend(_Deadline(timeout), max_bytes + (2 if is_cut else 1) * FRAMING_BYTES, allows),
    )
    try:
        with connection, connection.stream(method, target, headers=list(sent.items()), content=content) as response:
            names = {name.decode("ascii"): value.decode("latin-1") for name, value in response.headers}
            if is_cut:
                return Response(response.status, names, _read_beginning(response, max_bytes))
            _require_framing(response, is_encrypted)
            return Response(response.status, names, _read(response, max_bytes))
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise FetchError(str(error)) from error


def _read(response: httpcore2.Response, max_bytes: int) -> bytes:
    content = bytearray()
    for chunk in response.iter_stream():
        content += chunk
        if len(content) > max_bytes:
            raise FetchError(f"more than {max_bytes} bytes")
    return bytes(content)


def _read_beginning(response: httpcore2.Response, max_bytes: int) -> bytes:
    """Return up to `max_bytes` of the content: less if the connection breaks or the time is over."""
    content = bytearray()
    with suppress(OSError, httpcore2.ProtocolError):
        for chunk in response.iter_stream():
            content += chunk
            if len(content) >= max_bytes:
                break
    return bytes(content[:max_bytes])


def _require_framing(response: httpcore2.Response, is_encrypted: bool) -> None:
    """Refuse a response whose end can't be distinguished from a broken connection."""
    # Only TLS marks the end of a connection (close_notify). Without the mark, a truncated response looks complete.
    names = {name.lower() for name, _ in response.headers}
    has_end = b"content-length" in names or b"transfer-encoding" in names or response.status in (204, 304)
    if not has_end and not is_encrypted:
        raise FetchError("a response without a length")


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python ignores a missing close_notify by default. Then a truncated response would look complete.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


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
            raise TimeoutError("the response takes too long")
        return seconds


class _Stream(httpcore2.NetworkStream):
    """Connected socket: each operation gets the time that is left, and received bytes are counted.

    The time limits that httpcore2 passes are ignored: this module sets none.
    """

    def __init__(self, connected: socket.socket, deadline: _Deadline, max_bytes: int) -> None:
        self._socket, self._deadline, self._bytes_left = connected, deadline, max_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive up to `max_bytes` bytes; none at the end of the stream.

        Raises:
            FetchError: the response is too large.
        """
        self._socket.settimeout(self._deadline.left())
        received = self._socket.recv(max_bytes)
        self._bytes_left -= len(received)
        if self._bytes_left < 0:
            raise FetchError("the response is too large")
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes of `buffer`."""
        # One `sendall` would give each part the whole time again.
        rest = memoryview(buffer)
        while rest:
            self._socket.settimeout(self._deadline.left())
            rest = rest[self._socket.send(rest) :]

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "_Stream":
        """Return the stream encrypted. One timeout covers all messages of the handshake."""
        self._socket.settimeout(self._deadline.left())
        encrypted = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname, suppress_ragged_eofs=False)
        return _Stream(encrypted, self._deadline, self._bytes_left)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class _Backend(httpcore2.NetworkBackend):
    """Connect to an allowed address within the deadline."""

    def __init__(self, deadline: _Deadline, max_bytes: int, allows: Callable[[str], bool]) -> None:
        self._deadline, self._max_bytes, self._allows = deadline, max_bytes, allows

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Stream:
        """Connect to the first address that accepts; each gets an equal part of the time that is left.

        Raises:
            AddressRefused: one of the addresses is not allowed.
        """
        addresses = _resolve(host, port, self._deadline)
        if not all(self._allows(str(address[0])) for *_, address in addresses):
            raise AddressRefused(f"{host} has an address that may not be called")
        failure = OSError(f"{host} has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(self._deadline.left() / (len(addresses) - number))
                connected.connect(address)
                return _Stream(connected, self._deadline, self._max_bytes)
            except OSError as error:
                connected.close()
                failure = error
        raise failure


def addresses_of(host: str, port: int, *, timeout: float) -> list[str]:
    """Return the numeric addresses of a name.

    Raises:
        OSError: the name has none, or the look-up exceeds `timeout` seconds.
    """
    return [str(address[0]) for *_, address in _resolve(host, port, _Deadline(timeout))]


def _resolve(host: str, port: int, deadline: _Deadline) -> list[Any]:
    """Resolve a name in a thread, which is abandoned at the deadline: nothing can interrupt `getaddrinfo`."""
    places = _look_ups
    if not places.acquire(timeout=deadline.left()):
        raise TimeoutError(f"{LOOK_UPS} name look-ups are still running")
    results: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            results.put(error)
        finally:
            places.release()

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        result = results.get(timeout=deadline.left())
    except Empty:
        raise TimeoutError(f"the look-up of {host} takes too long") from None
    if isinstance(result, Exception):
        raise result
    return result
