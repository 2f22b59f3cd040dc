"""The real server, spoken to in bytes."""

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
"""Seconds that it may take to begin, or to answer, on a machine that has a lot to do."""


@dataclass
class Server:
    """A running gunicorn."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self, source: str | None = None) -> socket.socket:
        """A connection to it, from one of this machine's addresses if `source` names one."""
        address = (source, 0) if source else None
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE, source_address=address)

    def talk(self, sent: bytes, source: str | None = None) -> tuple[int, str, bytes]:
        """What comes back for these bytes, until the server closes or has answered with a whole body."""
        with self.connect(source) as connection:
            # Refused before we are done, the answer is there all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            return read_answer(connection)

    def stop(self) -> int:
        """End it gently; its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def read_answer(connection: socket.socket, *, bodiless: bool = False) -> tuple[int, str, bytes]:
    """One answer: its status, its head in lower case, its body; `bodiless` says that it has none (to HEAD)."""
    received = b""
    while not is_whole(received, bodiless) and (chunk := connection.recv(65536)):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower().decode("latin-1"), body


def is_whole(received: bytes, bodiless: bool) -> bool:
    """Whether an answer is all there."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return bool(end) and (bodiless or (length is not None and len(body) >= int(length[1])))


def asking(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: x", *headers, b"", body])


@contextmanager
def gunicorn(directory: Path, application: str, **more: str) -> Iterator[Server]:
    """A server of its own for an application, which is looked for in `directory`, too; its log is there.

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
