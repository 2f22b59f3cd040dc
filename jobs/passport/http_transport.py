"""Call a service over HTTP: `POST {url}/v1/{operation}` with signed JSON.

The request is signed by RFC 9421 (HMAC-SHA256) over method, URL, `content-type`, `content-digest` (RFC 9530) and
`idempotency-key`. docs/services/README.md describes the protocol for authors of a service.
"""

from datetime import timedelta

import msgspec
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from jobs.passport.contract import KEY_REUSED, Cause, Operation, ServiceKeyReused, ServiceRefused, ServiceUnavailable
from models.core import base64url, context
from models.core.database import now
from models.core.http_fetch import Client, FetchError, Response
from models.passport.calls import Transport

MAX_ANSWER_BYTES = 1_048_576
MAX_RETRY_AFTER = 3600.0
"""Seconds. A longer `Retry-After` counts as this one."""
VALID_FOR = timedelta(minutes=5)
"""Period in which a signature is valid."""
COVERED = ("@method", "@target-uri", "content-type", "idempotency-key")
"""Components of the signature, besides `content-digest`."""

_encode = msgspec.json.Encoder().encode


class _Refusal(msgspec.Struct):
    """Members of a problem document (RFC 9457) that are read."""

    code: str
    detail: str = ""


class _Message:
    """The request as the signer sees it."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.method, self.url, self.headers = "POST", url, headers


class HttpTransport:
    """A server that implements a service. May be shared by threads."""

    kind: Transport = "http"

    def __init__(self, url: str, key: str) -> None:
        """Prepare calls of the server at `url`, signed with `key` (`id:base64url`)."""
        self._url = url
        self._client = Client(url)
        self._key_id, _, secret = key.partition(":")
        keys = {self._key_id: base64url.decode(secret)}
        self._signer = HTTPMessageSigner(
            signature_algorithm=algorithms.HMAC_SHA256,
            key_resolver=MappingKeyResolver(public_keys={}, private_keys=keys),
        )

    def send(self, operation: Operation, request: msgspec.Struct, *, key: str) -> msgspec.Struct:
        """Send one request and return the answer."""
        url, body = f"{self._url}/v1/{operation.name}", _encode(request)
        headers = self._signed(url, body, key)
        try:
            response = self._client.request(
                "POST", url, timeout=operation.timeout, max_bytes=MAX_ANSWER_BYTES, content=body, headers=headers
            )
        except FetchError as error:
            raise _unavailable("bad_answer", str(error)) from error
        except TimeoutError as error:
            raise _unavailable("timeout", str(error)) from error
        except OSError as error:
            raise _unavailable("connection", str(error)) from error
        return _answer(operation, response)

    def _signed(self, url: str, body: bytes, key: str) -> dict[str, str]:
        request = context.request_info()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": key,
            **({"X-Request-ID": request.request_id} if request.request_id else {}),
            **({"traceparent": request.traceparent} if request.traceparent else {}),
        }
        created = now()
        self._signer.sign(
            _Message(url, headers),
            key_id=self._key_id,
            created=created,
            expires=created + VALID_FOR,
            label="companon",
            tag="companon",
            covered_component_ids=COVERED,
            body=body,
        )
        return headers


def _answer(operation: Operation, response: Response) -> msgspec.Struct:
    """Return the decoded answer.

    Raises:
        ServiceRefused: it is a problem document with a code that the operation lists.
        ServiceKeyReused: it is a problem document with the code of this error.
        ServiceUnavailable: it is anything else but an answer.
    """
    if response.status == 200:
        try:
            return msgspec.json.decode(response.content, type=operation.answer)
        except msgspec.MsgspecError as error:
            raise _unavailable("bad_answer", f"not the declared JSON: {error}") from error
    if 400 <= response.status < 500 and response.status != 429:
        try:
            refusal = msgspec.json.decode(response.content, type=_Refusal)
        except msgspec.MsgspecError:
            refusal = _Refusal("")
        if refusal.code == KEY_REUSED:
            raise ServiceKeyReused(refusal.detail[:500])
        if refusal.code in operation.refusals:
            raise ServiceRefused(refusal.code, refusal.detail[:500])
    wait = min(response.retry_after(), MAX_RETRY_AFTER)
    raise _unavailable("throttled" if response.status == 429 else "status", f"status {response.status}", wait)


def _unavailable(cause: Cause, detail: str, retry_after: float = 0.0) -> ServiceUnavailable:
    return ServiceUnavailable(retry_after, cause=cause, detail=f"{cause}: {detail[:200]}")
