"""Authenticated encryption of small values that have to be read again: AES-256-GCM (NIST SP 800-38D)."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class DecryptionError(Exception):
    """The ciphertext was changed, or encrypted with another key or other associated data."""


def encrypt(key: bytes, content: bytes, associated: bytes) -> bytes:
    """Return the nonce and the ciphertext of `content`.

    Nonces are random, so one key may encrypt 2³² times.

    Args:
        key: 32 bytes.
        content: the plaintext.
        associated: data that the ciphertext is bound to, such as the id of its record. Decryption needs it.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, associated)


def decrypt(key: bytes, encrypted: bytes, associated: bytes) -> bytes:
    """Return the plaintext of a result of `encrypt`.

    Raises:
        DecryptionError: it was changed, or encrypted with another key or other associated data.
    """
    try:
        return AESGCM(key).decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise DecryptionError from None
