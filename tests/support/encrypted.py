"""Servers with TLS: PostgreSQL, Redis, mail, HTTPS, and one with a scripted response."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from joserfc.jwk import ECKey

from scripts.devstack import sockets
from scripts.devstack.postgres import PrivatePostgres
from scripts.devstack.redis import PrivateRedis
from tests.support.authority import Certificate


class EncryptedPostgres(PrivatePostgres):
    """PostgreSQL that accepts only TCP connections with TLS."""

    def __init__(self, home: Path, certificate: Certificate) -> None:
        super().__init__(home, durable=False)
        self.port = sockets.free_port()
        self._certificate = certificate

    def command(self) -> list[str]:
        """See `PrivatePostgres`."""
        owner = self.data.stat()
        for source, name in ((self._certificate.chain, "server.crt"), (self._certificate.key, "server.key")):
            shutil.copyfile(source, self.data / name)
            (self.data / name).chmod(0o600)
            os.chown(self.data / name, owner.st_uid, owner.st_gid)
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.seek(0)
            rules.truncate()
            rules.write("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
        more = ["--listen_addresses=127.0.0.1", f"--port={self.port}", "--ssl=on"]
        return [*super().command(), *more]

    def dsn(self, user: str, dbname: str = "companon") -> str:
        """Return the URL of a login. The socket is named after the port."""
        return f"{super().dsn(user, dbname)}&port={self.port}"


class EncryptedRedis(PrivateRedis):
    """Redis that also accepts TLS."""

    def __init__(self, home: Path, certificate: Certificate) -> None:
        super().__init__(home, durable=False)
        self.port = sockets.free_port()
        self._certificate = certificate

    def command(self) -> list[str]:
        """See `PrivateRedis`."""
        files = ["--tls-cert-file", str(self._certificate.chain), "--tls-key-file", str(self._certificate.key)]
        return [*super().command(), "--tls-port", str(self.port), *files, "--tls-auth-clients", "no"]


class Mailbox:
    """Mail server that accepts every message and password."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Accept a message."""
        self.heard.append("message")
        return "250 OK"

    def authenticate(self, *args: Any) -> AuthResult:
        """Accept every login."""
        self.heard.append("password")
        return AuthResult(success=True)


@contextmanager
def mail_server(certificate: Certificate, scheme: str) -> Iterator[tuple[Mailbox, int]]:
    """Run a mail server with implicit TLS (`smtps`) or STARTTLS (`smtp`)."""
    mailbox, port = Mailbox(), sockets.free_port()
    tls = {"ssl_context": certificate.context()} if scheme == "smtps" else {"tls_context": certificate.context()}
    controller = QuietController(mailbox, "127.0.0.1", port, authenticator=mailbox.authenticate, **tls, **LENIENT)
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()


LENIENT = {"auth_require_tls": False, "ready_timeout": 30}
"""The server would accept a password without TLS; the client must refuse to send it."""


class QuietController(Controller):
    """Controller that does not connect to itself at start: it would have to trust its own certificate."""

    def _trigger_server(self) -> None:
        self.smtpd = self.factory()
        self._factory_invoked.set()


class HttpServer:
    """HTTPS server that publishes a key, and stores and returns documents."""

    def __init__(self, certificate: Certificate) -> None:
        self.key = ECKey.generate_key("P-256", auto_kid=True)
        self.documents: dict[str, bytes] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.socket = certificate.context().wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), name="https", daemon=True).start()

    def stop(self) -> None:
        """Stop the server."""
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                published = json.dumps({"keys": [server.key.as_dict(private=False)]}).encode()
                found = published if self.path == "/jwks" else server.documents.get(self.path)
                self._answer(200 if found else 404, found or b"")

            def do_PUT(self) -> None:
                server.documents[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(201, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Log nothing: the output of pytest must stay readable."""

        return Handler


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server on loopback for one connection, and return its port. Wait for its end at exit."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        # A test that fails before it connects must not wait forever.
        server.settimeout(60)

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.settimeout(120)
                answer(client)

        done = thread.submit(serve)
        yield server.getsockname()[1]
        done.result(120)
