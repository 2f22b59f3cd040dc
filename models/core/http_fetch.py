"""HTTP requests to other servers, with one deadline and one size limit for the whole exchange.

httpcore2 speaks HTTP/1.1. Its time limits begin again with each byte and it has no size limit. The network backend of
this module adds both: each socket operation gets the time that is left, and received bytes are counted. The deadline
covers name look-up, connect, TLS handshake, request and response.
"""

import email.utils
import math
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from models.core.tls import client_context

LOOK_UPS = 8
"""Concurrent name look-ups of one process. A look-up can't be interrupted, only abandoned."""
MAX_IDLE = 8
"""Idle connections that a client keeps."""
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

    def retry_after(self) -> float:
        """Return the seconds that `Retry-After` (RFC 9110, section 10.2.3) asks for; 0 without a readable one."""
        text = next((value for name, value in self.headers.items() if name.lower() == "retry-after"), "")
        try:
            if text.isdecimal():
                seconds = float(text)
            else:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):  # also a year or an offset that no date has
            return 0.0
        return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


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
    with _Connection(url, allows=allows) as connection:
        return connection.send(method, url, timeout, max_bytes, content, headers, is_cut=is_cut)


class Client:
    """Requests to one server over connections that stay open between requests. May be shared by threads."""

    def __init__(self, url: str, idle_seconds: float = 30.0) -> None:
        """Prepare requests to the server of `url`. A connection is closed after `idle_seconds` without a request."""
        self._url, self._idle_seconds = url, idle_seconds
        self._idle: deque[_Connection] = deque(maxlen=MAX_IDLE)

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        max_bytes: int,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request like `request`. A connection that the server has closed is not used."""
        connection = self._take()
        try:
            response = connection.send(method, url, timeout, max_bytes, content, headers)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable() and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> "_Connection":
        """Return the connection that was used last, or a new one."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_alive():
                    return connection
                connection.close()
        return _Connection(self._url, self._idle_seconds)


class _Connection:
    """One connection. Each request has a deadline and a size limit of its own."""

    def __init__(
        self, url: str, idle_seconds: float = 0.0, allows: Callable[[str], bool] = lambda address: True
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchError("the URL is neither http: nor https:")
        self._is_encrypted = parts.scheme == "https"
        self._limits = _Limits()
        self._http = httpcore2.HTTPConnection(
            httpcore2.URL(url).origin,
            ssl_context=client_context(requires_close_notify=True) if self._is_encrypted else None,
            keepalive_expiry=idle_seconds,
            network_backend=_Backend(self._limits, allows),
        )

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(
        self,
        method: str,
        url: str,
        timeout: float,
        max_bytes: int,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        *,
        is_cut: bool = False,
    ) -> Response:
        """Send a request and return the response."""
        self._limits.begin(timeout, max_bytes + (2 if is_cut else 1) * FRAMING_BYTES)
        # A server may compress only if the request allows it. Compressed content would pass the size limit.
        fields = {
            "Host": urlsplit(url).netloc.rpartition("@")[2],
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        try:
            with self._http.stream(
                method, httpcore2.URL(url), headers=list(fields.items()), content=content
            ) as response:
                names = {name.decode("ascii"): value.decode("latin-1") for name, value in response.headers}
                if is_cut:
                    return Response(response.status, names, _read_beginning(response, max_bytes))
                _require_framing(response, self._is_encrypted)
                return Response(response.status, names, _read(response, max_bytes))
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
            raise FetchError(str(error)) from error

    def is_reusable(self) -> bool:
        """Return whether the last response is complete and the server keeps the connection open."""
        return self._http.is_available()

    def is_alive(self) -> bool:
        """Return whether an idle connection is neither too old nor closed by the server."""
        return not self._http.has_expired()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


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


class _Limits:
    """Deadline and remaining bytes of the current request of a connection."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._at = time.monotonic() + seconds
        self._bytes_left = 0

    def begin(self, seconds: float, max_bytes: int) -> None:
        """Set the limits of the next request."""
        self._at, self._bytes_left = time.monotonic() + seconds, max_bytes

    def left(self) -> float:
        """Return the seconds that are left, more than 0.

        Raises:
            TimeoutError: none are left.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the response takes too long")
        return seconds

    def count(self, received: int) -> None:
        """Count received bytes.

        Raises:
            FetchError: the response is too large.
        """
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise FetchError("the response is too large")


class _Stream(httpcore2.NetworkStream):
    """Connected socket: each operation gets the time that is left, and received bytes are counted.

    The time limits that httpcore2 passes are ignored: this module sets none.
    """

    def __init__(self, connected: socket.socket, limits: _Limits) -> None:
        self._socket, self._limits = connected, limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive up to `max_bytes` bytes; none at the end of the stream.

        Raises:
            FetchError: the response is too large.
        """
        self._socket.settimeout(self._limits.left())
        received = self._socket.recv(max_bytes)
        self._limits.count(len(received))
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes of `buffer`."""
        # One `sendall` would give each part the whole time again.
        rest = memoryview(buffer)
        while rest:
            self._socket.settimeout(self._limits.left())
            rest = rest[self._socket.send(rest) :]

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "_Stream":
        """Return the stream encrypted. One timeout covers all messages of the handshake."""
        self._socket.settimeout(self._limits.left())
        encrypted = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname, suppress_ragged_eofs=False)
        return _Stream(encrypted, self._limits)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        """Return whether an idle socket has data (`is_readable`): then the server has closed the connection."""
        if info != "is_readable":
            return None
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class _Backend(httpcore2.NetworkBackend):
    """Connect to an allowed address within the deadline."""

    def __init__(self, limits: _Limits, allows: Callable[[str], bool]) -> None:
        self._limits, self._allows = limits, allows

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
        addresses = _resolve(host, port, self._limits)
        if not all(self._allows(str(address[0])) for *_, address in addresses):
            raise AddressRefused(f"{host} has an address that may not be called")
        failure = OSError(f"{host} has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(self._limits.left() / (len(addresses) - number))
                connected.connect(address)
                return _Stream(connected, self._limits)
            except OSError as error:
                connected.close()
                failure = error
        raise failure


def addresses_of(host: str, port: int, *, timeout: float) -> list[str]:
    """Return the numeric addresses of a name.

    Raises:
        OSError: the name has none, or the look-up exceeds `timeout` seconds.
    """
    return [str(address[0]) for *_, address in _resolve(host, port, _Limits(timeout))]


def _resolve(host: str, port: int, limits: _Limits) -> list[Any]:
    """Resolve a name in a thread, which is abandoned at the deadline: nothing can interrupt `getaddrinfo`."""
    places = _look_ups
    if not places.acquire(timeout=limits.left()):
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
        result = results.get(timeout=limits.left())
    except Empty:
        raise TimeoutError(f"the look-up of {host} takes too long") from None
    if isinstance(result, Exception):
        raise result
    return result
