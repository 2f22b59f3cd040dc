"""Tests of the mail sink: each acknowledged message is listed for each recipient, also after a restart."""

import http.client
import json
import smtplib
import subprocess
import sys
import urllib.request
from contextlib import closing, contextmanager
from email.message import EmailMessage
from urllib.parse import quote

import pytest

from scripts.devstack import sockets
from scripts.devstack.environment import ROOT


class Sink:
    def __init__(self, folder):
        self.folder = folder
        self.smtp, self.http = sockets.listening(), sockets.listening()

    @contextmanager
    def running(self):
        fds = [self.smtp.fileno(), self.http.fileno()]
        argv = [sys.executable, "-m", "scripts.fakes.mail", *map(str, fds), str(self.folder)]
        with subprocess.Popen(argv, pass_fds=fds, cwd=ROOT) as process:
            yield self
            process.terminate()

    def send(self, message, recipients=None):
        with smtplib.SMTP("127.0.0.1", self.smtp.getsockname()[1], timeout=60) as client:
            client.send_message(message, to_addrs=recipients)

    def call(self, method, path="/messages"):
        url = f"http://127.0.0.1:{self.http.getsockname()[1]}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as response:
            return response.read()

    def items(self, to=None):
        path = "/messages" + (f"?to={quote(to)}" if to else "")
        return json.loads(self.call("GET", path))["items"]


@pytest.fixture
def sink(tmp_path):
    with Sink(tmp_path / "mail").running() as running:
        yield running


def make_message(subject="Grüße", to="fan@example.org", html=None):
    message = EmailMessage()
    message["From"] = "Compañon <no-reply@companon.example>"
    message["To"] = to
    message["Subject"] = subject
    message.set_content("Hello £1\n")
    if html:
        message.add_alternative(html, subtype="html")
    return message


def test_message_with_html_and_accents_is_returned_decoded(sink):
    sink.send(make_message(html="<p>Hello £1</p>"))

    (item,) = sink.items("FAN@example.org")
    assert item["subject"] == "Grüße"
    assert item["from"] == "no-reply@companon.example"
    assert item["to"] == "fan@example.org"
    assert item["text"] == "Hello £1\n"
    assert item["html"] == "<p>Hello £1</p>\n"
    assert item["id"]
    assert item["received_at"]


def test_message_to_two_recipients_is_listed_once_for_each(sink):
    sink.send(make_message("one"), ["a@example.org", "b@example.org"])
    sink.send(make_message("two"), ["a@example.org"])

    assert [item["subject"] for item in sink.items("a@example.org")] == ["one", "two"]
    assert [item["subject"] for item in sink.items("b@example.org")] == ["one"]
    assert len(sink.items()) == 3


def test_messages_survive_a_restart_until_they_are_deleted(tmp_path):
    sink = Sink(tmp_path / "mail")
    with sink.running():
        sink.send(make_message("kept"))
    with sink.running():
        kept = sink.items()
        sink.call("DELETE")
        sink.send(make_message("new"))
        after = sink.items()

    assert [item["subject"] for item in kept] == ["kept"]
    assert [item["subject"] for item in after] == ["new"]
    assert after[0]["id"] > kept[0]["id"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[x", ""]
)
def test_inbox_with_other_host_header_returns_421(sink, method, host):
    sink.send(make_message())

    with closing(http.client.HTTPConnection("127.0.0.1", sink.http.getsockname()[1], timeout=60)) as connection:
        connection.request(method, "/messages", headers={"Host": host})
        response = connection.getresponse()
        content = response.read()

    assert response.status == 421
    assert b"fan@example.org" not in content
    assert len(sink.items()) == 1


def test_inbox_with_local_host_header_returns_200(sink):
    with closing(http.client.HTTPConnection("127.0.0.1", sink.http.getsockname()[1], timeout=60)) as connection:
        connection.request("GET", "/messages", headers={"Host": "localhost:1080"})

        assert connection.getresponse().status == 200
