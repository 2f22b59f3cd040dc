"""The real server: gunicorn with our configuration, over a socket."""

import json
import re
import signal

import pytest
from gunicorn.asgi.parser import PythonProtocol
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver
from gunicorn.workers import gasgi

from tests.support.brokers import until
from tests.support.gunicorn import PATIENCE, asking, gunicorn, read_answer

STREAM = """
import asyncio, pathlib, time
from web.server import shutdown
from web.app import create_app
from web.http.endpoint import endpoint


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
        time.sleep(0.5)  # so that the signal comes meanwhile
        resp.media = {"done": True}


application = create_app(routes=[("/stream", Stream()), ("/slow", Slow())])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    with gunicorn(tmp_path_factory.mktemp("server"), "web.app:application") as running:
        yield running


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET\r\n\r\n", 400, "bad_request"),
        (asking(b"GET /healthz?a=\xff"), 400, "bad_request"),
        (asking(b"GET /healthz?a=%ff"), 422, "invalid"),
        (asking(b"GET /healthz?a=%00"), 422, "invalid"),
        (asking(b"GET /api/v1/jobs/%ff%00"), 404, "not_found"),
        (asking(b"GET /api/v1/jobs/%ed%a0%80"), 404, "not_found"),
        (asking(b"WEBSOCKET /healthz"), 400, "bad_request"),
        (asking(b"GET /" + b"a" * 5000), 414, "uri_too_long"),
        (asking(b"GET /" + b"a" * 50_000), 414, "uri_too_long"),
        (asking(b"GET /", *(b"X-%d: %s" % (n, b"a" * 2000) for n in range(10))), 431, "headers_too_large"),
        (asking(b"GET /", b"X: " + b"a" * 50_000), 431, "headers_too_large"),
        (asking(b"GET /", *(b"X-%d: a" % n for n in range(200))), 431, "headers_too_large"),
        (asking(b"GET /healthz", b"User-Agent: a\x00b"), 400, "bad_request"),
        (asking(b"POST /healthz", b"Content-Length: -1"), 400, "bad_request"),
        (asking(b"POST /healthz", b"Content-Length: 1", b"Content-Length: 2", body=b"x"), 400, "bad_request"),
        (asking(b"POST /healthz", b"Content-Length: 5", body=b"hello"), 405, "method_not_allowed"),
    ],
)
def test_malformed_request_gets_a_problem_document(server, sent, status, code):
    answered, head, body = server.talk(sent)

    assert answered == status
    assert "content-type: application/problem+json" in head
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize(
    ("sent", "language", "title", "detail"),
    [
        # The application refuses.
        (asking(b"GET /nowhere", b"Accept-Language: es-MX"), "es", "No se ha encontrado", None),
        # The server refuses: within a body, where it knows the head, and within a head, where it does not.
        (
            asking(
                b"POST /api/v1/auth/login",
                b"Accept-Language: es",
                b"Transfer-Encoding: chunked",
                body=b"1;" + b"x" * 3000 + b"\r\n{\r\n",
            ),
            "es",
            "La petición no es HTTP válido",
            "Los fragmentos son demasiado pequeños: envíalos más grandes.",
        ),
        (b"GET / HTTP/1.1\r\nAccept-Language: es\r\nbroken\r\n\r\n", "en", "The request is not valid HTTP", ...),
    ],
)
def test_problem_is_in_the_language_of_the_client(server, sent, language, title, detail):
    _, head, body = server.talk(sent)

    problem = json.loads(body)
    assert f"content-language: {language}" in head
    assert "accept-language" in head[head.index("vary:") :]
    assert problem["title"] == title
    assert detail is ... or problem.get("detail") == detail


def test_status_line_has_the_phrase_of_the_status(server):
    with server.connect() as connection:
        connection.sendall(asking(b"GET /healthz", b"Accept: image/png"))
        line = connection.makefile("rb").readline()

    assert line == b"HTTP/1.1 406 Not Acceptable\r\n"


def test_refused_body_is_not_read_as_next_request(server):
    with server.connect() as connection:
        connection.sendall(asking(b"POST /nowhere", b"Content-Length: 7", body=b"GET / H"))
        assert read_answer(connection)[0] == 404
        connection.sendall(asking(b"GET /healthz"))
        assert read_answer(connection)[0] == 200


def test_server_log_is_json_with_the_request_id(server):
    server.talk(asking(b"GET /healthz", b"X-Request-Id: find-this-one"))

    until(lambda: "find-this-one" in server.log.read_text())
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert any(line.get("request_id") == "find-this-one" and line["status"] == 200 for line in lines)
    assert any("Listening at" in line.get("message", "") for line in lines)
    assert [line for line in lines if not re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", line["at"])] == []


@pytest.fixture
def streaming(tmp_path, database):
    (tmp_path / "streaming.py").write_text(STREAM)
    # It would wait for requests for longer than any test waits for it.
    with gunicorn(tmp_path, "streaming:application", GUNICORN_CMD_ARGS="--graceful-timeout 600") as running:
        yield running


def test_shutdown_ends_streams_and_idle_connections(streaming):
    with streaming.connect() as stream, streaming.connect() as idle:
        idle.sendall(asking(b"GET /healthz"))
        read_answer(idle)
        stream.sendall(asking(b"GET /stream"))
        while b"tick" not in stream.recv(65536):
            assert streaming.process.poll() is None

        status = streaming.stop()

    assert status == 0


def test_shutdown_finishes_running_requests(streaming, tmp_path):
    with streaming.connect() as connection:
        connection.sendall(asking(b"GET /slow"))
        until((tmp_path / "started").exists)
        streaming.process.send_signal(signal.SIGTERM)
        answer = read_answer(connection)
    streaming.process.wait(PATIENCE)

    assert (answer[0], json.loads(answer[2])) == (200, {"done": True})


def test_replaced_private_parts_of_gunicorn_exist():
    parts = (
        *("_send_error_response", "_on_headers_complete", "_will_close", "_keepalive_timeout", "_close_transport"),
        *("_arm_keepalive_timer", "_is_websocket_upgrade", "pause_writing", "resume_writing"),
        *("_on_body", "_on_message_complete"),
    )
    assert all(callable(getattr(ASGIProtocol, part)) for part in parts)
    assert callable(BodyReceiver._pop_chunk)
    assert {"_buffer", "is_complete"} <= set(PythonProtocol.__slots__)
    assert hasattr(gasgi, "ASGIProtocol")
