"""Secrets of endpoints and signatures of requests, by the Standard Webhooks specification (symmetric, `v1`).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from models.core import aead, keys

PREFIX = "whsec_"

_SECRET_BYTES = 32  # the specification allows 24 to 64
_PURPOSE = "webhook-secret"


def new_secret() -> str:
    """Return a random secret as its receiver stores it: `whsec_` and 32 bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def encrypt(secret: str, endpoint_id: UUID) -> bytes:
    """Encrypt a secret for its endpoint with the active key. The first byte is the version of the key."""
    version = keys.active_version()
    return bytes([version]) + aead.encrypt(keys.derive(_PURPOSE, version), secret.encode(), endpoint_id.bytes)


def decrypt(encrypted: bytes, endpoint_id: UUID) -> str:
    """Decrypt a stored secret.

    Raises:
        DecryptionError: the secret is another endpoint's, or was changed.
        KeyError: the root secret of its key version is missing.
    """
    return aead.decrypt(keys.derive(_PURPOSE, encrypted[0]), encrypted[1:], endpoint_id.bytes).decode()


def decrypt_all(encrypted: Iterable[bytes], endpoint_id: UUID) -> tuple[str, ...]:
    """Decrypt the stored secrets of an endpoint, without those whose root secret is gone."""
    found = []
    for secret in encrypted:
        with suppress(aead.DecryptionError, KeyError):
            found.append(decrypt(secret, endpoint_id))
    return tuple(found)


def is_current(encrypted: bytes) -> bool:
    """Return whether a stored secret is encrypted with the active key."""
    return encrypted[0] == keys.active_version()


def sign(signing: Iterable[str], event_id: UUID, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each secret, the newest first.

    HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`, over the bytes that are sent.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode() for secret in signing
    )


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX))
