"""`Idempotency-Key`: a repeated request gets the first answer again, and its effects happen once.

The key, the effects and the answer commit together: either all of them are stored or the key is unused. A second
request that arrives while the first runs waits for it in the database. An answer that contains a secret is stored
encrypted, for `KEEP_SECRETS`.
"""

import hashlib
import json
from datetime import timedelta
from typing import Any

from falcon.asgi import Request, Response

from models.core import aead, base64url, database, keys
from models.core.context import Identity, request_info
from models.core.errors import Conflict, Invalid

HEADER = "Idempotency-Key"
STORED_HEADERS = ("location", "etag", "retry-after", "link")

KEEP_SECRETS = timedelta(minutes=5)
"""Period in which an answer that contains a secret can be repeated: long enough for the retry of a lost answer."""

_PURPOSE = "idempotent-answer"


class KeyReused(Invalid):
    """The key was used with another request."""

    code = "idempotency_key_reused"


class DatabaseIdempotencyStore:
    """Stores answers in `app.idempotency_keys` within the caller's transaction."""

    def begin(self, scope: str, key: str, digest: bytes) -> dict[str, Any] | None:
        """Claim a key. Return the stored answer if the key was claimed and committed before."""
        kept: dict[str, Any] | None = database.value(
            "select app.claim_idempotency_key(%s, %s, %s)", (scope, key, digest)
        )
        if kept and kept["is_secret"] and not kept["is_over"]:
            try:
                kept["body"] = _decrypt(scope, key, kept["body"])
            except KeyError:  # the root secret was retired
                kept["is_over"] = True
        return kept

    def store(
        self, scope: str, key: str, status: int, headers: dict[str, str], body: str, *, is_secret: bool = False
    ) -> None:
        """Store the answer to the request that claimed a key; encrypted if it contains a secret."""
        sql = "select app.store_idempotent_response(%s, %s, %s, %s::jsonb, %s, %s)"
        kept = _encrypt(scope, key, body) if is_secret else body
        database.execute(sql, (scope, key, status, json.dumps(headers), kept, KEEP_SECRETS if is_secret else None))


def _encrypt(scope: str, key: str, body: str) -> str:
    """Return the version of the root secret and the ciphertext, which is bound to the owner and the key."""
    version = keys.active_version()
    encrypted = aead.encrypt(keys.derive(_PURPOSE, version), body.encode(), _bound_to(scope, key))
    return f"{version}:{base64url.encode(encrypted)}"


def _decrypt(scope: str, key: str, kept: str) -> str:
    """Return the body of an encrypted answer.

    Raises:
        KeyError: there is no root secret of its version.
    """
    version, _, encrypted = kept.partition(":")
    secret_key = keys.derive(_PURPOSE, int(version))
    return aead.decrypt(secret_key, base64url.decode(encrypted), _bound_to(scope, key)).decode()


def _bound_to(scope: str, key: str) -> bytes:
    return f"{scope} {key}".encode()  # neither contains a blank


def key_of(req: Request) -> str | None:
    """Return the request's key, or None.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters.
    """
    key = req.get_header(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        raise Invalid(HEADER, "must be 1 to 255 visible ASCII characters")
    return key


def scope_of(identity: Identity) -> str:
    """Return the owner of the key: the person, the API key, or the hashed address of an anonymous caller."""
    if identity.is_api_key:
        return f"api-key:{identity.actor_id}"
    if identity.user_id is not None:
        return f"user:{identity.user_id}"
    return "address:" + keys.keyed_hash("idempotency", request_info().address.encode()).hex()


def digest_of(req: Request, body: bytes) -> bytes:
    """Return a digest of method, path, query and body: it is equal for repeated requests."""
    head = f"{req.method} {req.path}?{req.query_string}\n".encode()
    return hashlib.sha256(head + body).digest()


def replay(resp: Response, kept: dict[str, Any], digest: bytes) -> None:
    """Answer with the stored answer.

    Raises:
        KeyReused: the key was used with another request.
        Conflict: the first request has no stored answer, or its answer contained a secret and is no longer stored.
    """
    if kept["digest"] != digest.hex():
        raise KeyReused(HEADER, "was used with another request: choose a new key for this one")
    if kept["status"] is None:
        raise Conflict("The first request with this key has not been answered.")
    if kept["is_over"]:
        raise Conflict(
            "The first request with this key succeeded. Its answer contained a secret and is no longer stored: delete"
            " what it created (Location), and send a new key.",
            headers=kept["headers"],
        )
    resp.status = kept["status"]
    resp.set_headers(kept["headers"])
    resp.set_header("Idempotent-Replayed", "true")
    if kept["body"]:
        resp.content_type = "application/json"
        resp.data = kept["body"].encode()


def stored_headers(resp: Response) -> dict[str, str]:
    """Return the headers that are stored with an answer: not those of the single request, such as its id."""
    return {name: value for name, value in resp.headers.items() if name in STORED_HEADERS}
