"""The real server: gunicorn with our configuration, over a socket."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from scripts.setup.environment import ROOT
from scripts.setup.sockets import free_port

STREAM = """
import asyncio, pathlib, time
from web import shutdown
from web.app import create_app
from web.endpoint import endpoint


class Stream:
    async def on_get(self, req, resp):
        async def ticks():
            while not shutdown.is_stopping():
                yield b"tick\\n"
                await asyncio.sleep(0.02)

        resp.content_type = "text/plain"
        resp.stream = ticks()


class Slow:
    @endpoint(permission="public", outward=True)
    def on_get(self, req, resp):
        pathlib.Path(__file__).with_name("started").touch()
        time.sleep(0.5)
        resp.media = {"done": True}


application = create_app(routes=[("/stream", Stream()), ("/slow", Slow())])
"""


class Server:
    """A running gunicorn."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def talk(self, sent):
        """What comes back for these bytes, until the server closes or has answered with a whole body."""
        with self.connect() as connection:
            # Refused before we are done, the answer is there all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            return read_answer(connection)

    def stop(self):
        """End it gently; how many seconds that took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return time.monotonic() - started


def read_answer(connection):
    received = b""
    while not (match := re.search(rb"content-length: (\d+).*?\r\n\r\n(.*)", received, re.I | re.S)) or len(
        match[2]
    ) < int(match[1]):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower().decode("latin-1"), body


@contextmanager
def gunicorn(tmp_path, application):
    port = free_port()
    environment = os.environ | {"PORT": str(port), "WEB_CONCURRENCY": "1", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "gunicorn", "--config", "web/gunicorn.conf.py", application]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = Server(process, port, tmp_path / "log")
    try:
        wait_until_it_answers(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_it_answers(server):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        try:
            with server.connect() as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert read_answer(connection)[0] == 200
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError(server.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    with gunicorn(tmp_path_factory.mktemp("server"), "web.app:application") as running:
        yield running


HOST = b" HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET\r\n\r\n", 400, "bad_request"),
        (b"GET /healthz?a=\xff" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /healthz?a=%ff" + HOST + b"\r\n", 422, "invalid"),
        (b"GET /healthz?a=%00" + HOST + b"\r\n", 422, "invalid"),
        (b"GET /api/v1/jobs/%ff%00" + HOST + b"\r\n", 404, "not_found"),
        (b"GET /api/v1/jobs/%ed%a0%80" + HOST + b"\r\n", 404, "not_found"),
        (b"WEBSOCKET /healthz" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 5000 + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /" + b"a" * 50_000 + HOST + b"\r\n", 414, "uri_too_long"),
        (b"GET /healthz" + HOST + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 2000) for n in range(10)) + b"\r\n", 431, "headers_too_large"),
        (b"GET /healthz" + HOST + b"X: " + b"a" * 50_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /healthz" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431, "headers_too_large"),
        (b"GET /healthz" + HOST + b"User-Agent: a\x00b\r\n\r\n", 400, "bad_request"),
        (b"POST /healthz" + HOST + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
        (b"POST /healthz" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400, "bad_request"),
        (b"POST /healthz" + HOST + b"Content-Length: 5\r\n\r\nhello", 405, "method_not_allowed"),
    ],
)  # fmt: skip
def test_a_request_that_is_none_gets_a_problem_document(server, request_bytes, status, code):
    answered, head, body = server.talk(request_bytes)

    assert answered == status
    assert "content-type: application/problem+json" in head
    assert json.loads(body)["code"] == code


def test_a_websocket_is_refused(server):
    handshake = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

    assert server.talk(b"GET /healthz" + HOST + handshake)[0] == 403


def test_a_refused_body_does_not_become_the_next_request(server):
    with server.connect() as connection:
        connection.sendall(b"POST /nowhere" + HOST + b"Content-Length: 7\r\n\r\nGET / H")
        assert read_answer(connection)[0] == 404
        connection.sendall(b"GET /healthz" + HOST + b"\r\n")
        assert read_answer(connection)[0] == 200


def test_its_log_is_json_and_knows_the_request(server):
    server.talk(b"GET /healthz" + HOST + b"X-Request-Id: find-this-one\r\n\r\n")

    deadline = time.monotonic() + 5
    while "find-this-one" not in (text := server.log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = [json.loads(line) for line in text.splitlines()]
    assert any(line.get("request_id") == "find-this-one" and line["status"] == 200 for line in lines)
    assert any("Listening at" in line.get("message", "") for line in lines)


@pytest.fixture
def streaming(tmp_path, database):
    (tmp_path / "streaming.py").write_text(STREAM)
    with gunicorn(tmp_path, "streaming:application") as running:
        yield running


def test_it_ends_soon_although_a_stream_and_an_idle_connection_are_open(streaming):
    with streaming.connect() as stream, streaming.connect() as idle:
        idle.sendall(b"GET /healthz" + HOST + b"\r\n")
        read_answer(idle)
        stream.sendall(b"GET /stream" + HOST + b"\r\n")
        while b"tick" not in stream.recv(65536):
            assert streaming.process.poll() is None

        took = streaming.stop()

    assert took < 10
    assert streaming.process.returncode == 0


def test_a_request_that_is_under_way_is_finished_first(streaming, tmp_path):
    with streaming.connect() as connection:
        connection.sendall(b"GET /slow" + HOST + b"\r\n")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not (tmp_path / "started").exists():
            time.sleep(0.01)
        streaming.process.send_signal(signal.SIGTERM)
        answer = read_answer(connection)
    streaming.process.wait(20)

    assert (answer[0], json.loads(answer[2])) == (200, {"done": True})


def test_the_private_part_of_gunicorn_that_we_replace_is_still_there():
    assert callable(ASGIProtocol._send_error_response)
    assert hasattr(gasgi, "ASGIProtocol")
