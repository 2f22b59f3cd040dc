"""Test the look-up of passwords in known data breaches, at a real server, by a part of their hash."""

import hashlib
import threading
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from models.core.errors import Invalid
from models.identity import breached_passwords, passwords
from scripts.devstack import sockets
from settings import settings

STOLEN = "correct horse battery staple"
SAFE = "seven purple walruses dance"


def digest(password):
    return hashlib.sha1(password.encode()).hexdigest().upper()


class Ranges:
    """Answer like the range API of Have I Been Pwned, with padding. `answer` replaces the normal answer."""

    def __init__(self):
        self.asked, self.answer, self.released = [], None, threading.Event()
        self.entered = threading.Event()
        ranges = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                ranges.asked.append((self.path, dict(self.headers)))
                ranges.entered.set()
                if ranges.answer is None:
                    ranges.released.wait(20)
                status, body = ranges.answer or (200, b"")
                with suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args):
                """Discard the access log."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/range"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def set_known(self, *counted):
        """Set the known passwords and their counts."""
        lines = [f"{digest(password)[5:]}:{times}" for password, times in counted]
        self.answer = (200, "\r\n".join([f"{'0' * 35}:3", *lines, f"{'F' * 35}:0"]).encode())

    def hold(self):
        """Delay the answer until `released` is set, and then return no known password."""
        self.answer = None

    def stop(self):
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def ranges(monkeypatch):
    server = Ranges()
    monkeypatch.setattr(breached_passwords, "settings", replace(settings, breached_passwords_url=server.url))
    monkeypatch.setattr(breached_passwords, "TIMEOUT", 20.0)
    monkeypatch.setattr(breached_passwords, "_paused_until", 0.0)
    yield server
    server.stop()


def choose(password):
    passwords.require_good(password, "ana@people.example", field="new_password")


def test_password_of_a_known_breach_is_refused(ranges):
    ranges.set_known((STOLEN, 215), (SAFE, 0))

    with pytest.raises(Invalid) as refused:
        choose(STOLEN)

    (error,) = refused.value.extra["errors"]
    assert (error["field"], "breach" in error["reason"]) == ("new_password", True)
    choose(SAFE)  # a count of 0 is padding


def test_breach_server_receives_five_hash_digits_only(ranges):
    ranges.set_known()

    choose(SAFE)

    ((path, headers),) = ranges.asked
    assert path == f"/range/{digest(SAFE)[:5]}"
    assert headers["Add-Padding"] == "true"
    assert set(headers) == {"Host", "Accept-Encoding", "Add-Padding"}


def test_guessable_password_is_refused_without_a_look_up(ranges):
    with pytest.raises(Invalid):
        choose("password1234")

    assert ranges.asked == []


@pytest.mark.parametrize(
    "answer", [(500, b""), (302, b""), (200, b"not a list"), (200, b"\xff" * 100), (200, b" " * 300_000)]
)
def test_password_is_accepted_when_the_look_up_fails(ranges, caplog, answer):
    ranges.answer = answer

    for _ in range(3):
        choose(STOLEN)

    assert len(ranges.asked) == 1  # the pause after a failure
    assert "can't be looked up" in caplog.text
    assert digest(STOLEN)[:5] not in caplog.text


def test_unavailable_breach_server_does_not_block_sign_up(ranges, monkeypatch, caplog):
    monkeypatch.setattr(breached_passwords, "TIMEOUT", 0.2)
    choose(STOLEN)
    assert len(ranges.asked) == 1
    nowhere = f"http://127.0.0.1:{sockets.free_port()}"
    monkeypatch.setattr(breached_passwords, "settings", replace(settings, breached_passwords_url=nowhere))
    monkeypatch.setattr(breached_passwords, "_paused_until", 0.0)

    choose(STOLEN)

    assert caplog.text.count("can't be looked up") == 2


def test_look_up_beyond_bound_counts_as_failed(ranges, monkeypatch, caplog):
    monkeypatch.setattr(breached_passwords, "_slots", threading.BoundedSemaphore(1))
    ranges.hold()
    first = threading.Thread(target=choose, args=(SAFE,))
    first.start()
    assert ranges.entered.wait(60)

    choose(STOLEN)

    assert len(ranges.asked) == 1
    assert "can't be looked up" in caplog.text
    ranges.released.set()
    first.join(60)
    ranges.set_known((STOLEN, 1))
    with pytest.raises(Invalid):  # the slot is free again, and no pause has begun
        choose(STOLEN)


def test_answer_that_is_cut_off_counts_as_failed(hostile_server, monkeypatch, caplog):
    known = f"{digest(SAFE)[5:]}:2\r\n".encode()
    server = hostile_server([b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + known])
    url = f"http://127.0.0.1:{server.port}/range"
    monkeypatch.setattr(breached_passwords, "settings", replace(settings, breached_passwords_url=url))
    monkeypatch.setattr(breached_passwords, "_paused_until", 0.0)

    choose(STOLEN)

    assert "can't be looked up" in caplog.text


def test_breach_server_is_queried_again_after_the_pause(ranges, monkeypatch):
    ranges.answer = (500, b"")
    choose(STOLEN)
    ranges.set_known((STOLEN, 1))
    monkeypatch.setattr(breached_passwords, "_paused_until", 0.0)

    with pytest.raises(Invalid):
        choose(STOLEN)


def test_password_is_accepted_without_a_configured_server(ranges, monkeypatch):
    monkeypatch.setattr(breached_passwords, "settings", settings)

    choose(STOLEN)

    assert ranges.asked == []
