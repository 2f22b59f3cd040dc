"""A server of one service, written from its OpenAPI document alone. It imports nothing of the system.

`main` serves the operations of a module over HTTP/1.1 and keeps their rows in SQLite. It verifies the signature,
validates requests and answers, repeats the answer of a known key, and injects faults on demand:

- `PUT /faults` with `{"kind": …, "times": n}`: the next n calls (of an `operation`) are `slow` (`seconds`), or `hang`
  until the client gives up, or are answered with a `status` (`retry_after`), with `garbage`, a `huge` body, a
  `redirect` or the `wrong_schema`, or their connection is closed before (`drop_before`) or after (`drop_after`) the
  effect.
- `GET /counts`: received calls and effects of each operation. `DELETE /store`: empty the store, counts and faults.
"""

import argparse
import base64
import json
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
from http_message_signatures import HTTPMessageVerifier, InvalidSignature, MappingKeyResolver, algorithms
from http_message_signatures.exceptions import HTTPMessageSignaturesException

Act = Callable[[sqlite3.Connection, dict[str, Any]], dict[str, Any]]
COVERED = ("@method", "@target-uri", "content-type", "content-digest", "idempotency-key")
TABLE_OF_KEYS = "create table if not exists answered_keys (key text primary key, digest text, answer text)"


class Refused(Exception):
    """A business refusal: a problem with `code`."""

    def __init__(self, code: str, detail: str = "", status: int = 409) -> None:
        super().__init__(code)
        self.code, self.detail, self.status = code, detail, status


@dataclass(eq=False)
class Fault:
    """A fault that the next calls have."""

    kind: str
    operation: str = ""
    times: int = 1
    seconds: float = 0.0
    status: int = 500
    retry_after: str = ""


@dataclass
class Counterpart:
    """A service: its document, its operations, its store and its faults."""

    document: dict[str, Any]
    acts: Mapping[str, Act]
    schema: str
    keys: Mapping[str, bytes]
    database: sqlite3.Connection
    lock: threading.RLock = field(default_factory=threading.RLock)
    calls: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    resets: int = 0

    def reset(self) -> None:
        """Empty the store, the counts and the faults."""
        with self.lock:
            self.resets += 1
            self.faults.clear()
            self.calls.clear()
            self.effects.clear()
            tables = self.database.execute("select name from sqlite_master where type = 'table'").fetchall()
            for (name,) in tables:
                self.database.execute(f"drop table {name}")
            self.database.executescript(f"{TABLE_OF_KEYS};{self.schema}")

    def next_fault(self, operation: str) -> Fault | None:
        """Return the fault of the next call of an operation."""
        with self.lock:
            fault = next((one for one in self.faults if one.operation in ("", operation)), None)
            if fault is None:
                return None
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            return fault

    def perform(self, name: str, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """Perform an operation once for its key, in one transaction."""
        digest = sha256(json.dumps([name, request], sort_keys=True).encode()).hexdigest()
        with self.lock:
            self.database.execute("begin immediate")
            try:
                known = self.database.execute("select digest, answer from answered_keys where key = ?", (key,))
                kept = known.fetchone()
                if kept is None:
                    answer = self.acts[name](self.database, request)
                    row = (key, digest, json.dumps(answer))
                    self.database.execute("insert into answered_keys values (?, ?, ?)", row)
                    self.effects[name] += 1
                elif kept[0] != digest:
                    raise Refused("idempotency_key_reused", "The key was used with another request.", 422)
                else:
                    answer = json.loads(kept[1])
                self.database.execute("commit")
            except BaseException:
                self.database.execute("rollback")
                raise
        self.validate(name, answer, "answer")
        return answer

    def validate(self, name: str, content: Any, part: str) -> None:
        """Check a request or an answer against the document.

        Raises:
            jsonschema_rs.ValidationError: it does not fit.
        """
        operation = self.document["paths"][f"/v1/{name}"]["post"]
        found = operation["requestBody"] if part == "request" else operation["responses"]["200"]
        schema = {**found["content"]["application/json"]["schema"], "components": self.document["components"]}
        jsonschema_rs.validator_for(schema).validate(content)

    def verify(self, message: "Message", body: bytes) -> None:
        """Check the signature of a request, and its age.

        Raises:
            InvalidSignature: no accepted key has signed all components.
        """
        verifier = HTTPMessageVerifier(
            signature_algorithm=algorithms.HMAC_SHA256,
            key_resolver=MappingKeyResolver(public_keys=self.keys, private_keys={}),
        )
        verifier.verify(
            message,
            max_age=timedelta(minutes=5),
            expect_tag="companon",
            expect_label="companon",
            require_components=COVERED,
            body=body,
        )


@dataclass
class Message:
    """A request as the verifier sees it."""

    method: str
    url: str
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    disable_nagle_algorithm = True  # Head and body are two writes: the second would wait for an answer to the first.

    protocol_version = "HTTP/1.1"
    counterpart: Counterpart

    def log_message(self, *args: Any) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Answer the counts."""
        self._answer(200, {"calls": self.counterpart.calls, "effects": self.counterpart.effects})

    def do_PUT(self) -> None:
        """Take a fault."""
        self.counterpart.faults.append(Fault(**json.loads(self._read())))
        self._answer(200, {})

    def do_DELETE(self) -> None:
        """Empty the store."""
        self.counterpart.reset()
        self._answer(200, {})

    def do_POST(self) -> None:
        """Perform an operation."""
        body, name = self._read(), self.path.removeprefix("/v1/")
        self.counterpart.calls[name] += 1
        fault, resets = self.counterpart.next_fault(name), self.counterpart.resets
        if fault is not None and self._fail_before(fault):
            return
        if self.counterpart.resets != resets:  # A slow call of a test that is over has no effect in the next one.
            self._drop()
            return
        try:
            self._require_signature(body)
            request = json.loads(body)
            self.counterpart.validate(name, request, "request")
            answer = self.counterpart.perform(name, self.headers["Idempotency-Key"], request)
        except Refused as refused:
            self._answer(refused.status, {"code": refused.code, "detail": refused.detail})
        except (InvalidSignature, HTTPMessageSignaturesException) as error:
            self._answer(401, {"code": "signature_invalid", "detail": str(error)})
        except (jsonschema_rs.ValidationError, KeyError, ValueError) as error:
            self._answer(400, {"code": "not_the_contract", "detail": str(error)[:300]})
        else:
            if fault is not None and fault.kind == "drop_after":
                self._drop()
            else:
                self._answer(200, answer)

    def _require_signature(self, body: bytes) -> None:
        url = f"http://{self.headers['Host']}{self.path}"
        self.counterpart.verify(Message("POST", url, dict(self.headers.items())), body)

    def _fail_before(self, fault: Fault) -> bool:
        """Inject a fault that replaces the answer. Return whether it did."""
        match fault.kind:
            case "slow":
                time.sleep(fault.seconds)
                return False
            case "hang":
                self.connection.recv(1, socket.MSG_PEEK)
                return False
            case "status":
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self._send(fault.status, b"{}", headers)
            case "garbage":
                self._send(200, b"<html>not JSON</html>")
            case "wrong_schema":
                self._send(200, b'{"surprise": 1}')
            case "huge":
                self._send(200, b'"' + b"x" * 3_000_000 + b'"')
            case "redirect":
                self._send(302, b"", {"Location": "http://127.0.0.1:1/"})
            case "drop_before":
                self._drop()
            case _:
                return False
        return True

    def _drop(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: Any) -> None:
        self._send(status, json.dumps(content).encode())

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """The server, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write no trace of a connection that the client has closed."""


def main(acts: Mapping[str, Act], schema: str) -> None:
    """Serve until standard input ends. Print the port.

    Args:
        acts: the operations.
        schema: SQL that creates the tables of the service.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--document", type=Path, required=True)
    parser.add_argument("--key", action="append", default=[], help="id:base64url; two while keys are rotated")
    asked = parser.parse_args()
    database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    keys = {name: _decoded(secret) for name, _, secret in (text.partition(":") for text in asked.key)}
    counterpart = Counterpart(json.loads(asked.document.read_text()), acts, schema, keys, database)
    counterpart.reset()
    server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"counterpart": counterpart}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
