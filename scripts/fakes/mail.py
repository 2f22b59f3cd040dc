"""Mail server that stores received mail and shows it over HTTP.

`python -m scripts.fakes.mail SMTP_FD HTTP_FD DIRECTORY`, where the descriptors are inherited listening sockets.

    GET    /messages?to=ADDRESS   {"items": [{"id", "to", "from", "subject", "text", "html", "received_at"}, …]}
    DELETE /messages

One item for each recipient, newest last; `to` is optional. Only requests for a host name of this machine are answered.
Otherwise a page of another origin could resolve its own name to this machine and read the links.
"""

import asyncio
import json
import signal
import socket
import sys
import threading
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """Messages in memory and in a directory, one JSON file for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._items = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        self._last = int(self._items[-1]["id"]) if self._items else 0

    def take(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Store a message once for each recipient."""
        message = message_from_bytes(content, policy=policy.default)
        with self._lock:
            for recipient in recipients:
                self._last += 1
                self._keep({"id": f"{self._last:08}", "to": recipient, "from": sender} | _parts(message))

    def _keep(self, item: dict[str, Any]) -> None:
        unfinished = self.folder / f"{item['id']}.new"
        unfinished.write_text(json.dumps(item))
        unfinished.rename(self.folder / f"{item['id']}.json")
        self._items.append(item)

    def items(self, to: str | None) -> list[dict[str, Any]]:
        """Return the messages to one address, or all, oldest first."""
        with self._lock:
            return [item for item in self._items if to is None or item["to"].lower() == to.lower()]

    def clear(self) -> None:
        """Delete all messages. The numbering of ids continues."""
        with self._lock:
            for item in self._items:
                (self.folder / f"{item['id']}.json").unlink()
            self._items = []


def _parts(message: EmailMessage) -> dict[str, Any]:
    return {
        "subject": message["subject"],
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
        "received_at": datetime.now(UTC).isoformat(),
    }


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body(preferencelist=(kind,))
    return part.get_content().replace("\r\n", "\n") if part is not None else None


class Handler:
    """Callbacks of the SMTP server."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Store a message, then acknowledge it."""
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        await asyncio.to_thread(self.mailbox.take, envelope.mail_from or "", envelope.rcpt_tos, content)
        return "250 Kept"


LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Host names that a page of another origin can't use."""


class Inbox(BaseHTTPRequestHandler):
    """HTTP interface of the mailbox."""

    mailbox: Mailbox
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List messages."""
        url = urlsplit(self.path)
        if not self._is_local():
            return
        if url.path != "/messages":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        to = parse_qs(url.query).get("to", [None])[0]
        self._answer(HTTPStatus.OK, json.dumps({"items": self.mailbox.items(to)}).encode())

    def do_DELETE(self) -> None:
        """Delete all messages."""
        if not self._is_local():
            return
        if urlsplit(self.path).path != "/messages":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.mailbox.clear()
        self._answer(HTTPStatus.NO_CONTENT, b"")

    def _is_local(self) -> bool:
        """Refuse a request for a host name of another machine."""
        try:
            is_local = urlsplit(f"//{self.headers.get('Host', '')}").hostname in LOCAL
        except ValueError:
            is_local = False
        if not is_local:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return is_local

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's
        """Log nothing: clients poll the inbox."""


def serve_http(listener: socket.socket, mailbox: Mailbox) -> None:
    """Answer HTTP on a listening socket from a background thread."""
    handler = type("BoundInbox", (Inbox,), {"mailbox": mailbox})
    server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, daemon=True).start()


async def serve_smtp(listener: socket.socket, mailbox: Mailbox) -> None:
    """Receive mail on a listening socket until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: SMTP(Handler(mailbox), enable_SMTPUTF8=True), sock=listener)
    await ended.wait()
    server.close()


def main(smtp: int, http: int, folder: Path) -> None:
    """Serve on two inherited listening sockets."""
    mailbox = Mailbox(folder)
    serve_http(socket.socket(fileno=http), mailbox)
    asyncio.run(serve_smtp(socket.socket(fileno=smtp), mailbox))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
