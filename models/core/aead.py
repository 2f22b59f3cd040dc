"""Sealing: AES-256-GCM (NIST SP 800-38D) for the little that has to be read again, by us or by whoever has the key."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class Broken(Exception):
    """What should be opened was sealed with another key, for something else, or has been changed."""


def seal(key: bytes, content: bytes, belongs_to: bytes) -> bytes:
    """`content`, unreadable without `key` and bound to what it belongs to; the nonce comes first.

    Nonces are random: one key may seal 2³² times.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, belongs_to)


def unseal(key: bytes, sealed: bytes, belongs_to: bytes) -> bytes:
    """What was sealed.

    Raises:
        Broken: with another key, for something else, or it is not whole.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], belongs_to)
    except (InvalidTag, ValueError):
        raise Broken from None
