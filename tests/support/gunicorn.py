"""The web server as a process, with requests and responses as bytes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.devstack.environment import ROOT
from scripts.devstack.sockets import free_port

PATIENCE = 120.0
"""Seconds for a start or a response, on a busy machine."""


@dataclass
class Server:
    """Running gunicorn."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self, source: str | None = None) -> socket.socket:
        """Return a connection to the server, from the local address `source` if given."""
        address = (source, 0) if source else None
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE, source_address=address)

    def talk(self, sent: bytes, source: str | None = None) -> tuple[int, str, bytes]:
        """Send bytes and return the response, read until its end or the end of the connection."""
        with self.connect(source) as connection:
            # The server may refuse the request before it is complete; its response can be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            return read_answer(connection)

    def stop(self) -> int:
        """Stop it gracefully and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def read_answer(connection: socket.socket, *, bodiless: bool = False) -> tuple[int, str, bytes]:
    """Read one response: status, headers in lower case, body. `bodiless`: the response to HEAD has no body."""
    received = b""
    while not is_whole(received, bodiless) and (chunk := connection.recv(65536)):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower().decode("latin-1"), body


def is_whole(received: bytes, bodiless: bool) -> bool:
    """Return whether a response is complete."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return bool(end) and (bodiless or (length is not None and len(body) >= int(length[1])))


def asking(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: x", *headers, b"", body])


@contextmanager
def gunicorn(directory: Path, application: str, **more: str) -> Iterator[Server]:
    """Run a server for an application, which may be a module in `directory`. Its log is there.

    `more` is of its environment.
    """
    port = free_port()
    environment = os.environ | {"PORT": str(port), "WEB_CONCURRENCY": "1", "LOG_LEVEL": "INFO"}
    environment |= {"PYTHONPATH": str(directory)} | more
    command = [sys.executable, "-m", "gunicorn", "--config", "web/server/gunicorn.conf.py", application]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = Server(process, port, directory / "log")
    try:
        _wait_until_it_answers(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        try:
            assert server.talk(asking(b"GET /healthz"))[0] == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError(server.log.read_text())
