"""Requests to servers that send slowly, too much or an incomplete response: each fails before its deadline."""

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core import http_fetch as fetching
from models.core.http_fetch import FetchError, fetch, request
from scripts.devstack import sockets
from tests.fixtures.hostile_servers import PATIENCE, HostileServer
from tests.support.authority import Authority

TIMEOUT = 0.2


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture
def tls(authority, monkeypatch):
    """Return the TLS context of a server whose certificate is trusted as `localhost`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    return authority.certify("localhost").context()


def ask(server, *, max_bytes=1000, timeout=TIMEOUT):
    scheme, host = ("https", "localhost") if server.context else ("http", "127.0.0.1")
    return fetch(f"{scheme}://{host}:{server.port}/", timeout=timeout, max_bytes=max_bytes)


def fails_in_time(server, error):
    began = time.monotonic()
    with pytest.raises(error):
        ask(server)
    assert time.monotonic() - began < PATIENCE


OK = b"HTTP/1.1 200 OK\r\n"
HEADS = {
    "kept alive": OK + b"Content-Length: 900\r\n\r\n",
    "closed, with a length": OK + b"Connection: close\r\nContent-Length: 900\r\n\r\n",
    "closed, without a length": OK + b"Connection: close\r\n\r\n",
    "kept alive, without a length": OK + b"\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n384\r\n",
    "chunks, closed": OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n",
    "a chunk's size": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "a header": OK + b"X: ",
    "the status line": b"HTTP/1.1 200 ",
    "nothing": b"",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_fetch_from_slow_server_ends_at_deadline(hostile_server, head):
    fails_in_time(hostile_server([head], b"0"), OSError)


@pytest.mark.parametrize("head", ["closed, without a length", "HTTP/1.0", "chunks"])
def test_fetch_over_tls_from_slow_server_ends_at_deadline(hostile_server, tls, head):
    fails_in_time(hostile_server([HEADS[head]], b"0", context=tls), TimeoutError)


def test_fetch_of_endless_interim_responses_ends_at_deadline(hostile_server):
    fails_in_time(hostile_server([b""], b"HTTP/1.1 100 Continue\r\n\r\n"), OSError)


def test_fetch_with_slow_tls_handshake_ends_at_deadline(hostile_server, tls):
    # The first bytes of a TLS record, so that the client waits for its rest.
    fails_in_time(hostile_server(context=tls, silent=True, trickle=b"\x16\x03\x03\x16"), OSError)


def test_fetch_with_slow_name_look_up_ends_at_deadline(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
    monkeypatch.setattr(fetching, "_look_ups", threading.BoundedSemaphore(2))
    began = time.monotonic()

    for _ in range(3):
        with pytest.raises(TimeoutError, match="look-up"):
            fetch("http://name.example/", timeout=0.2, max_bytes=10)

    assert time.monotonic() - began < PATIENCE
    assert sum(thread.name == "look-up" for thread in threading.enumerate()) == 2
    over.set()


def test_fetch_tries_each_address_within_deadline(hostile_server, monkeypatch):
    server = hostile_server([OK + b"Content-Length: 2\r\n\r\nok"])
    nowhere = ("127.0.0.1", sockets.free_port())
    known = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", at) for at in (nowhere, ("127.0.0.1", server.port))]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: known)

    assert fetch("http://name.example/", timeout=PATIENCE, max_bytes=10) == b"ok"


@pytest.fixture
def silent_port():
    """Return a port that neither accepts nor refuses a connection: its queue is full."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_fetch_leaves_time_for_the_next_address(hostile_server, silent_port, monkeypatch):
    server = hostile_server([OK + b"Content-Length: 2\r\n\r\nok"])
    known = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in (silent_port, server.port)]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: known)

    assert fetch("http://name.example/", timeout=2, max_bytes=10) == b"ok"


CUT = {
    "a length": OK + b"Content-Length: 3000\r\n\r\n" + b"x" * 39,
    "a length, closed": OK + b"Connection: close\r\nContent-Length: 3000\r\n\r\n" + b"x" * 39,
    "no length": OK + b"Connection: close\r\n\r\n" + b"x" * 39,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 39,
    "in a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n27\r\n" + b"x" * 20,
    "between chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n27\r\n" + b"x" * 39 + b"\r\n",
    "an odd encoding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + b"x" * 39,
}


@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_fetch_of_truncated_response_fails(hostile_server, tls, sent, encrypted):
    server = hostile_server([sent], context=tls if encrypted else None, is_clean=False)

    with pytest.raises(OSError):
        ask(server, max_bytes=5000, timeout=PATIENCE)


def test_fetch_accepts_response_without_length_ended_by_tls(hostile_server, tls):
    assert ask(hostile_server([OK + b"Connection: close\r\n\r\nwhole"], context=tls), timeout=PATIENCE) == b"whole"


ENDLESS = {
    "length": [OK + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 200_000],
    "chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\n", b"x" * 200_000],
    "chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 40_000],
    "headers": [OK, *[b"X: " + b"y" * 60_000 + b"\r\n"] * 4],
    "information": [b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000],
}


@pytest.mark.parametrize("parts", ENDLESS.values(), ids=ENDLESS)
def test_fetch_of_response_above_size_limit_fails(hostile_server, parts):
    with pytest.raises(FetchError, match=r"too large|more than"):
        ask(hostile_server(parts), timeout=PATIENCE)


def test_request_sends_host_body_and_no_encoding(hostile_server):
    server = hostile_server([OK + b"Content-Length: 0\r\n\r\n"])

    request("PUT", f"http://u:p@127.0.0.1:{server.port}/a?b=1#c", timeout=PATIENCE, max_bytes=1, content=b"body")

    head, _, body = server.received.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert (line, body) == (b"PUT /a?b=1 HTTP/1.1", b"body")
    assert {b"Host: 127.0.0.1:%d" % server.port, b"Accept-Encoding: identity", b"Content-Length: 4"} <= set(headers)
    assert not any(header.lower().startswith(b"authorization") for header in headers)


def test_response_without_content_needs_no_length(hostile_server):
    server = hostile_server([b"HTTP/1.1 204 No Content\r\n\r\n"])

    assert request("PUT", f"http://127.0.0.1:{server.port}/", timeout=PATIENCE, max_bytes=1).status == 204


def test_request_returns_redirect_without_following_it(hostile_server):
    server = hostile_server([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"])

    answer = request("GET", f"http://127.0.0.1:{server.port}/", timeout=PATIENCE, max_bytes=10)

    assert (answer.status, answer.headers["Location"], answer.content) == (302, "http://127.0.0.1:1/", b"")
    with pytest.raises(FetchError, match="302"):
        ask(server, timeout=PATIENCE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "http:", "//host/x", ""])
def test_fetch_of_other_url_than_http_fails(url):
    with pytest.raises(FetchError):
        fetch(url, timeout=1, max_bytes=1)


def framed(content, how, sizes):
    if how == "length":
        return OK + b"Content-Length: %d\r\n\r\n" % len(content) + content
    chunks, rest = [], content
    for size in [*sizes, len(content)]:
        chunk, rest = rest[:size], rest[size:]
        chunks += [b"%x\r\n%s\r\n" % (len(chunk), chunk)] if chunk else []
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"


@settings(max_examples=30, deadline=None)
@given(
    content=st.binary(max_size=300),
    how=st.sampled_from(["length", "chunks"]),
    sizes=st.lists(st.integers(1, 50), max_size=5),
    missing=st.integers(0, 40),
)
def test_fetch_of_any_response_is_complete_or_fails(content, how, sizes, missing):
    sent = framed(content, how, sizes)
    server = HostileServer([sent[: len(sent) - missing]])
    try:
        if missing == 0:
            assert ask(server, timeout=PATIENCE) == content
        else:
            with pytest.raises(OSError):
                ask(server, timeout=PATIENCE)
    finally:
        server.stop()


class CountingServer(ThreadingHTTPServer):
    """Answers each request with its path, over HTTP/1.1. `/close` also closes the connection without announcing it."""

    daemon_threads = True

    def __init__(self):
        self.connections = 0
        super().__init__(("127.0.0.1", 0), CountingHandler)

    def process_request(self, request, client_address):
        self.connections += 1
        super().process_request(request, client_address)


class CountingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.path.encode() * (1000 if self.path == "/large" else 1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = self.path == "/close"

    def log_message(self, *args):
        """Write no log."""


@pytest.fixture
def counting():
    server = CountingServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = fetching.Client(f"http://127.0.0.1:{server.server_port}")

    def post(path):
        url = f"http://127.0.0.1:{server.server_port}{path}"
        return client.request("POST", url, timeout=PATIENCE, max_bytes=1000, content=b"").content.decode()

    yield post, server, client
    client.close()
    server.shutdown()
    server.server_close()


def test_client_reuses_its_connection(counting):
    post, server, _ = counting

    assert [post("/a"), post("/b"), post("/c")] == ["/a", "/b", "/c"]
    assert server.connections == 1


def test_client_replaces_connection_that_the_server_has_closed(counting):
    post, server, client = counting

    first = post("/close")
    while client._idle[0].is_alive():
        threading.Event().wait(0.001)

    assert (first, post("/b"), server.connections) == ("/close", "/b", 2)


def test_client_does_not_reuse_connection_of_failed_request(counting):
    post, server, client = counting

    with pytest.raises(FetchError, match="more than 1000 bytes"):
        post("/large")

    assert not client._idle
    assert (post("/b"), server.connections) == ("/b", 2)
