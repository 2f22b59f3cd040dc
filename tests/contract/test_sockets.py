"""Test the real server with bytes that are not HTTP, or that two HTTP parsers would read differently."""

import json
import re
import select
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

import pytest
from falcon import inspect

from tests.support.gunicorn import asking, gunicorn, read_answer
from web.app import application

QUICK = """
from web.http import body
from web.server import worker

worker.HEAD_SECONDS = body.SECONDS = 2.0

from web.app import application
"""
"""The application with shorter timeouts."""

HOST = b"Host: x\r\n"
HEALTH = asking(b"GET /healthz")
POST = b"POST /api/v1/auth/anonymous HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ROUTES = sorted({re.sub(r"\{[^}]*\}", "x", route.path) for route in inspect.inspect_app(application).routes})


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    directory = tmp_path_factory.mktemp("server")
    (directory / "quick.py").write_text(QUICK)
    with gunicorn(directory, "quick:application") as running:
        yield running
        assert '"level":"ERROR"' not in running.log.read_text()


def conversation(server, sent, *, half_closed=False):
    """Send bytes and read until the server closes. Return the statuses of all answers, and the bytes received."""
    with server.connect() as connection:
        received = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    statuses = [int(status) for status in re.findall(rb"(?:^|\}|\n)HTTP/1\.[01] (\d+) ", received)]
    return statuses, received


def require_problem(received, status):
    head, _, body = received.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    document = json.loads(body)
    assert document["status"] == status
    assert document["code"]
    assert document["title"]
    assert document["request_id"]


SMUGGLING = {
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HEALTH,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "length with an underscore": POST + b"Content-Length: 0_2\r\n\r\n{}",
    "length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "no number": POST + b"Content-Length: two\r\n\r\n{}",
    "empty length": POST + b"Content-Length: \r\n\r\n{}",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked, then gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n{}",
    "empty coding": POST + b"Transfer-Encoding: \r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a control character before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk of letters": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk of negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a 0x prefix": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}XX0\r\n\r\n",
    "chunks by line feeds": CHUNKED + b"2\n{}\n0\n\n",
    "a line feed in a chunk's extension": CHUNKED + b"2;a=b\n{}\r\n0\r\n\r\n",
    "a carriage return in a chunk's extension": CHUNKED + b"2;a\r=b\r\n{}\r\n0\r\n\r\n",
    "NUL in a chunk's extension": CHUNKED + b"2;a=\0b\r\n{}\r\n0\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a folded length": POST + b"Content-Length: 1\r\n 2\r\n\r\n{}",
    "a head of line feeds": CHUNKED.replace(b"\r\n", b"\n") + b"2\r\n{}\r\n0\r\n\r\n",
    "a line feed before a length": POST + b"X: y\nContent-Length: 2\r\n\r\n{}",
    "length in a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n",
    "invalid chunks in an unread body": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}
NOT_HTTP = {
    "empty lines only": b"\r\n\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n",
    "HTTP/0.9": b"GET /healthz\r\n",
    "HTTP/9.9": HEALTH.replace(b"1.1", b"9.9"),
    "HTTP/2 without negotiation": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b"/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": HEALTH.replace(b"GET", b"get"),
    "two spaces": HEALTH.replace(b"GET ", b"GET  "),
    "tabs": HEALTH.replace(b" ", b"\t", 2),
    "a leading space": b" " + HEALTH,
    "NUL in the path": asking(b"GET /heal\0thz"),
    "not ASCII in the path": asking(b"GET /h\xc3\xa9"),
    "line feeds only": HEALTH.replace(b"\r\n", b"\n"),
    "no colon": asking(b"GET /healthz", b"X-Header"),
    "no name": asking(b"GET /healthz", b": x"),
    "a space in a name": asking(b"GET /healthz", b"X Y: z"),
    "not ASCII in a name": asking(b"GET /healthz", b"\xff: x"),
    "a folded line": asking(b"GET /healthz", b"X: a\r\n b"),
    "NUL in a value": asking(b"GET /healthz", b"X: a\0b"),
    "a carriage return in a value": asking(b"GET /healthz", b"X: a\rb"),
    "two hosts": asking(b"GET /healthz", b"Host: y"),
    "a PROXY protocol header": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HEALTH,
}
OVERSIZED = {
    "an endless line": (b"G" * 1_000_000, 414),
    "a long path": (asking(b"GET /" + b"a" * 100_000), 414),
    "a header of 1 MB": (asking(b"GET /healthz", b"X: " + b"a" * 1_000_000), 431),
    "endless headers": (asking(b"GET /healthz", *(b"X-%d: a" % n for n in range(100_000))), 431),
    "a trailer of 1 MB": (CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    "10 MB": (POST + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000, 413),
    "10 MB in chunks": (CHUNKED + b"10000\r\n" + b" " * 65536 + b"\r\n" + b"ffffff\r\n" + b" " * 10_000_000, 413),
    "a length beyond 64 bits": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}", 413),
}


def test_ambiguous_request_returns_400_and_closes(server):
    requests = SMUGGLING | NOT_HTTP
    answers = {name: conversation(server, sent + HEALTH) for name, sent in requests.items()}

    assert {name: statuses for name, (statuses, _) in answers.items()} == {key: [400] for key in requests}
    for _, received in answers.values():
        require_problem(received, 400)


def test_oversized_request_is_refused_before_its_end(server):
    answers = {name: conversation(server, sent) for name, (sent, _) in OVERSIZED.items()}

    assert {name: statuses for name, (statuses, _) in answers.items()} == {
        name: [status] for name, (_, status) in OVERSIZED.items()
    }
    for name, (_, received) in answers.items():
        require_problem(received, OVERSIZED[name][1])


def in_chunks(content, size):
    """Return a body in chunks of a size."""
    parts = (content[start : start + size] for start in range(0, len(content), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def padded(length):
    """Return an empty JSON object of a length."""
    return b"{" + b" " * (length - 2) + b"}"


TRAILERS = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(50))
MOSTLY_FRAMING = {
    "chunks of one byte": CHUNKED + in_chunks(padded(100_000), 1),
    "small chunks of a large body": CHUNKED + in_chunks(padded(200_000), 100),
    "chunk sizes with zeros": CHUNKED + b"".join(b"0" * 4000 + b"1\r\n \r\n" for _ in range(10)),
    "long extensions": CHUNKED + b"".join(b"1;" + b"a" * 4000 + b"\r\n \r\n" for _ in range(10)),
    "many trailers": CHUNKED + b"2\r\n{}\r\n0\r\n" + TRAILERS + b"\r\n",
}


def test_chunked_body_that_is_mostly_framing_returns_400_and_closes(server):
    answers = {name: conversation(server, sent + HEALTH) for name, sent in MOSTLY_FRAMING.items()}

    assert {name: statuses for name, (statuses, _) in answers.items()} == {key: [400] for key in MOSTLY_FRAMING}
    for _, received in answers.values():
        require_problem(received, 400)


def test_chunked_body_of_an_ordinary_client_is_accepted(server):
    closing = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    sizes = [(2, 1), (2_000, 10), (20_000, 1_000), (200_000, 1_400), (200_000, 65_536)]

    answers = {
        (length, size): conversation(server, closing + in_chunks(padded(length), size))[0] for length, size in sizes
    }

    assert answers == {key: [201] for key in sizes}


def test_chunk_extensions_are_ignored_up_to_a_limit(server):
    closing = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    assert conversation(server, closing + b'2;a=b;c="d"\r\n{}\r\n0\r\n\r\n')[0] == [201]
    assert conversation(server, closing + b"2;" + b"a" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n")[0] == [400]


def test_transfer_coding_besides_chunked_is_refused(server):
    coded = POST + b"Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

    statuses, received = conversation(server, coded)

    assert statuses == [415]
    require_problem(received, 415)


def test_host_field_is_required_and_checked(server):
    expected = {b"": 400, b"Host: a b\r\n": 400, b"Host: a/b\r\n": 400, b"Host:\r\n": 200}

    answered = {
        host: server.talk(b"GET /healthz HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")[0] for host in expected
    }

    assert answered == expected


def test_absolute_request_target_is_read_as_its_path(server):
    expected = {
        b"http://x/healthz": 200,
        b"HTTP://elsewhere.example:99/healthz?": 200,
        b"http://x/nowhere": 404,
        b"http://x": 200,
        b"ftp://x/healthz": 404,
        b"x:443": 400,
        b"/healthz#part": 404,
    }

    answered = {target: server.talk(asking(b"GET " + target, b"Accept: application/json"))[0] for target in expected}

    assert answered == expected


def test_pipelined_requests_are_answered_in_order(server):
    refused = asking(b"POST /nowhere", b"Content-Length: 7", body=b"GET / H")
    last = asking(b"GET /healthz", b"Connection: close")

    statuses, _ = conversation(server, (HEALTH + refused) * 100 + last)

    assert statuses == [200, 404] * 100 + [200]


def test_garbage_after_valid_requests_is_refused_after_their_answers(server):
    statuses, received = conversation(server, HEALTH * 3 + b"garbage\r\n\r\n" + HEALTH)

    assert statuses == [200, 200, 200, 400]
    require_problem(received, 400)


def test_half_closed_client_is_answered(server):
    assert conversation(server, HEALTH, half_closed=True)[0] == [200]
    assert conversation(server, POST + b"Content-Length: 2\r\n\r\n{}", half_closed=True)[0] == [201]
    assert conversation(server, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", half_closed=True)[0] == [201]


def test_incomplete_body_of_half_closed_client_returns_400(server):
    incomplete = [
        POST + b"Content-Length: 3\r\n\r\n",
        POST + b"Content-Length: 3\r\n\r\n{}",
        CHUNKED,
        CHUNKED + b"2\r\n{}\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\n",
    ]
    answers = [conversation(server, sent, half_closed=True) for sent in incomplete]

    assert [statuses for statuses, _ in answers] == [[400]] * len(incomplete)
    for _, received in answers:
        require_problem(received, 400)


UNFINISHED = {
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "a last chunk without its line end": CHUNKED + b"2\r\n{}\r\n0\r\n",
    "half a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX: y",
    "a trailer without an end": CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n",
}


def test_unfinished_chunked_body_returns_408_and_closes(server):
    with ThreadPoolExecutor(len(UNFINISHED)) as clients:
        answers = list(clients.map(lambda sent: conversation(server, sent), UNFINISHED.values()))

    assert [statuses for statuses, _ in answers] == [[408]] * len(UNFINISHED)


INSIDE = asking(b"GET /nowhere")
UNREAD = asking(
    b"POST /api/v1/campaigns/0198a3f0-0000-7000-8000-00000000000a/launch", b"Content-Type: application/json"
)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % len(INSIDE) + INSIDE,
        b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(INSIDE, 100),
    ],
    ids=["length", "chunked"],
)
def test_request_after_an_unread_body_gets_its_own_answer(server, body):
    refused = UNREAD.removesuffix(b"\r\n") + body

    statuses, received = conversation(server, refused + refused + asking(b"GET /healthz", b"Connection: close"))

    assert statuses == [401, 401, 200]
    assert received.endswith(b'{"status":"ok"}')


def test_get_after_head_on_one_connection_gets_its_own_answer(server):
    paths = [
        b"/healthz",
        b"/docs",
        b"/static/pages.css",
        b"/api/v1/openapi.json",
        b"/",
        b"/nowhere",
        b"/api/v1/auth/login",
    ]
    with server.connect() as connection:
        for path in paths:
            connection.sendall(asking(b"HEAD " + path))
            status, head, leftover = read_answer(connection, bodiless=True)
            connection.sendall(asking(b"GET " + path))
            answered, _, body = read_answer(connection)

            assert (status, leftover) == (answered, b""), path
            assert f"\r\ncontent-length: {len(body)}\r\n" in head, path


def test_incomplete_head_is_not_answered(server):
    assert conversation(server, b"GET /healthz HTT", half_closed=True) == ([], b"")


def test_no_method_causes_a_server_error_on_any_route(server):
    for method in (b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"PROPFIND", b"BREW"):
        require_no_server_error(server, method)


def require_no_server_error(server, method):
    with server.connect() as connection:
        for route in ROUTES:
            connection.sendall(asking(method + b" " + route.encode(), b"Content-Length: 0"))
            status, head, body = read_answer(connection, bodiless=method == b"HEAD" or method == b"OPTIONS")

            case = (method, route)
            assert status < 500 or (status, route) == (503, "/healthz/audit"), case  # no seal process runs here
            assert status >= 400 or method in (b"HEAD", b"OPTIONS"), case
            assert status < 400 or "content-type: application/problem+json" in head, case
            assert status < 400 or method == b"HEAD" or json.loads(body)["status"] == status, case
            if "\r\nconnection: close" in head:
                connection.close()
                return


SLOW = {
    "a head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ",
    "a line": b"GET /health",
    "a body": POST + b"Content-Length: 1000\r\n\r\n",
    "chunks": CHUNKED,
    "one endless chunk": CHUNKED + b"ffffffffffffffff\r\n",
}


def test_slow_client_returns_408_and_delays_no_other(server):
    with ThreadPoolExecutor(len(SLOW)) as clients:
        dribbling = [clients.submit(send_slowly, server, begun) for begun in SLOW.values()]
        while wait(dribbling, timeout=0.1).not_done:
            assert server.talk(HEALTH)[0] == 200

    for client in dribbling:
        require_problem(client.result(), 408)


def send_slowly(server, begun):
    """Send one byte or chunk every 0.1 s until the server answers. Return the answer."""
    for _ in range(10):  # If a sent byte crosses the reset, the reset discards the answer: try again.
        received = b""
        with server.connect() as slow, suppress(ConnectionResetError, BrokenPipeError):
            slow.sendall(begun)
            while not select.select([slow], [], [], 0.1)[0]:
                slow.sendall(b"1\r\n \r\n" if begun == CHUNKED else b"a")
            while chunk := slow.recv(65536):
                received += chunk
        if received.endswith(b"}"):
            break
    return received


def test_silent_client_is_disconnected_without_answer(server):
    with server.connect() as silent:
        assert silent.recv(100) == b""
