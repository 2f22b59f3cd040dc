"""GET from a server that may be slow, far away or somebody else: bounded in time and size, without redirects."""

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit


class NotFetched(Exception):
    """The server has answered something else."""


def fetch(url: str, *, timeout: float, most: int, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a 200. Certificates are verified.

    Args:
        url: `http:` or `https:`.
        timeout: seconds that it may take as a whole.
        most: bytes that the body may have.
        headers: to be sent.

    Raises:
        NotFetched: another status, or more bytes.
        OSError, http.client.HTTPException: it could not be had.
    """
    parts = urlsplit(url)
    connection = _connection(parts, timeout)
    # A socket's own timeout begins anew with each byte.
    watchdog = threading.Timer(timeout, _hang_up, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request("GET", target, headers=dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read(most + 1)
    finally:
        watchdog.cancel()
        connection.close()
    if answer.status != 200:
        raise NotFetched(f"status {answer.status}")
    if len(content) > most:
        raise NotFetched(f"more than {most} bytes")
    return content


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())


def _hang_up(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        connection.sock.shutdown(socket.SHUT_RDWR)
