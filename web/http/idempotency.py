"""`Idempotency-Key`: a repeated request gets the first answer again, and its effects happen once.

The key, the effects and the answer commit together, so there is no state in between: either all of it
happened or the key is free. A second request that comes while the first runs waits for it in the database.
"""

import hashlib
import json
from typing import Any

from falcon.asgi import Request, Response

from models.core import database, keys
from models.core.context import Identity, request_info
from models.core.errors import Conflict, Invalid

HEADER = "Idempotency-Key"
KEPT_HEADERS = ("location", "etag", "retry-after", "link")


class KeyReused(Invalid):
    """The key came with another request before."""

    code = "idempotency_key_reused"


class DatabaseIdempotencyStore:
    """The answers, kept in `app.idempotency_keys` within the caller's transaction."""

    def begin(self, scope: str, key: str, digest: bytes) -> dict[str, Any] | None:
        """Claim `key`; the kept answer if it has been claimed and committed before."""
        kept: dict[str, Any] | None = database.value(
            "select app.claim_idempotency_key(%s, %s, %s)", (scope, key, digest)
        )
        return kept

    def store(self, scope: str, key: str, status: int, headers: dict[str, str], body: str) -> None:
        """Keep the answer to the request that claimed `key`."""
        sql = "select app.store_idempotent_response(%s, %s, %s, %s::jsonb, %s)"
        database.execute(sql, (scope, key, status, json.dumps(headers), body))


def key_of(req: Request) -> str | None:
    """The request's key, if it has one.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters.
    """
    key = req.get_header(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        raise Invalid(HEADER, "has to be 1 to 255 visible ASCII characters")
    return key


def scope_of(identity: Identity) -> str:
    """Whose key it is: the person's, the API key's, or before anybody is known, the address's (hashed)."""
    if identity.is_api_key:
        return f"api-key:{identity.actor_id}"
    if identity.user_id is not None:
        return f"user:{identity.user_id}"
    return "address:" + keys.keyed_hash("idempotency", request_info().address.encode()).hex()


def digest_of(req: Request, body: bytes) -> bytes:
    """What makes a request the same one: method, path, query and body."""
    head = f"{req.method} {req.path}?{req.query_string}\n".encode()
    return hashlib.sha256(head + body).digest()


def replay(resp: Response, kept: dict[str, Any], digest: bytes) -> None:
    """Answer as the first time.

    Raises:
        KeyReused: it was another request.
        Conflict: the first request has not been answered.
    """
    if kept["digest"] != digest.hex():
        raise KeyReused(HEADER, "was used with another request")
    if kept["status"] is None:
        raise Conflict("The first request with this key has not been answered.")
    resp.status = kept["status"]
    resp.set_headers(kept["headers"])
    resp.set_header("Idempotent-Replayed", "true")
    if kept["body"]:
        resp.content_type = "application/json"
        resp.data = kept["body"].encode()


def kept_headers(resp: Response) -> dict[str, str]:
    """Those headers of an answer that belong to it and not to the request that it answered."""
    return {name: value for name, value in resp.headers.items() if name in KEPT_HEADERS}
