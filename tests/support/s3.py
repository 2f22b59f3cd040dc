"""An S3 server for tests: moto behind a check of each signature, which moto itself does not verify.

The check is written from the specification of Signature Version 4 and shares no code with boto3. It accepts requests
under a path, as Supabase Storage does.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

PREFIX = "/storage/v1/s3"
KEY_ID, SECRET, REGION = "test-key", "test-secret", "eu-central-1"

_ALGORITHM = "AWS4-HMAC-SHA256"


class Refused(Exception):
    """The request is not signed for what it does; the text is S3's error code."""


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _header(environ: WSGIEnvironment, name: str) -> str:
    key = name.upper().replace("-", "_")
    value = environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}")
    if value is None:
        raise Refused("SignatureDoesNotMatch")
    return " ".join(str(value).split())


def _signature(environ: WSGIEnvironment, query: list[tuple[str, str]], signed: str, payload: str, at: str) -> str:
    scope = f"{at[:8]}/{REGION}/s3/aws4_request"
    canonical = "\n".join(
        [
            environ["REQUEST_METHOD"],
            quote(environ["PATH_INFO"], safe="/-_.~"),
            "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query)),
            *(f"{name}:{_header(environ, name)}" for name in signed.split(";")),
            "",
            signed,
            payload,
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + SECRET.encode()
    for part in (at[:8], REGION, "s3", "aws4_request", "\n".join([_ALGORITHM, at, scope, digest])):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def verify(environ: WSGIEnvironment, now: datetime) -> None:
    """Check the signature of a request, in its query or its header, and the expiry.

    Raises:
        Refused: the request is not signed, was changed, or has expired.
    """
    query = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    fields = dict(query)
    if "X-Amz-Signature" in fields:
        at, signed, found = fields["X-Amz-Date"], fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"]
        query = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        payload, lifetime = "UNSIGNED-PAYLOAD", timedelta(seconds=int(fields["X-Amz-Expires"]))
    else:
        kind, _, rest = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind != _ALGORITHM:
            raise Refused("AccessDenied")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        at, signed, found = _header(environ, "x-amz-date"), parts["SignedHeaders"], parts["Signature"]
        payload, lifetime = _header(environ, "x-amz-content-sha256"), timedelta(minutes=15)
    if not hmac.compare_digest(found, _signature(environ, query, signed, payload, at)):
        raise Refused("SignatureDoesNotMatch")
    if now >= datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + lifetime:
        raise Refused("AccessDenied")


class S3:
    """The server. `now` gives its time, which tests may move."""

    def __init__(self) -> None:
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._moto: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}{PREFIX}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            if not environ["PATH_INFO"].startswith(f"{PREFIX}/"):
                raise Refused("NoSuchPath")
            verify(environ, self.now())
        except Refused as refused:
            # Read the body: a client that still sends would not read the answer.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{refused}</Code></Error>".encode()]
        inner = environ["PATH_INFO"].removeprefix(PREFIX)
        return self._moto({**environ, "PATH_INFO": inner, "RAW_URI": inner, "REQUEST_URI": inner}, start_response)

    def start(self) -> None:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving() -> Iterator[S3]:
    """Run the server."""
    server = S3()
    server.start()
    try:
        yield server
    finally:
        server.stop()
