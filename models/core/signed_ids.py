"""Signed ids: a text that carries the id of a row and a signature, so that it can't be forged or guessed.

The signature is not stored. 80 bits of HMAC-SHA256 can't be guessed over a network and keep pictures of codes small.
"""

import hmac
from uuid import UUID

from models.core import base64url, keys

_ID, _MAC = 16, 10  # bytes
_LENGTH = _ID + 1 + _MAC


def make(purpose: str, id: UUID, key_version: int) -> str:
    """Return id, key version and signature as base64url without padding (36 characters).

    Raises:
        KeyError: there is no root secret of this version.
    """
    return base64url.encode(id.bytes + bytes([key_version]) + _mac(purpose, id.bytes, key_version))


def read(purpose: str, text: str) -> UUID | None:
    """Return the id in a text of `make`; None if its signature is wrong or its key is no longer known."""
    try:
        raw = base64url.decode(text)
    except ValueError:
        return None
    # Encode again and compare: base64 decoders accept several spellings of the same bytes.
    if len(raw) != _LENGTH or base64url.encode(raw) != text or raw[_ID] not in keys.versions():
        return None
    genuine = hmac.compare_digest(raw[_ID + 1 :], _mac(purpose, raw[:_ID], raw[_ID]))
    return UUID(bytes=raw[:_ID]) if genuine else None


def _mac(purpose: str, id: bytes, key_version: int) -> bytes:
    return keys.keyed_hash(purpose, id, version=key_version)[:_MAC]
