"""Refresh tokens: random, opaque, valid once and followed by a successor."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from models.core import aead


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token. Only its hash is stored."""

    text: str

    @property
    def hash(self) -> bytes:
        """Return the hash to store. A fast hash is enough: the token has 256 random bits."""
        return hashlib.sha256(self.text.encode()).digest()

    def seal(self, successor: "RefreshToken") -> bytes:
        """Encrypt the successor with this token."""
        return aead.encrypt(self._key, successor.text.encode(), self.hash)

    def unseal(self, sealed: bytes) -> "RefreshToken":
        """Decrypt a successor.

        Raises:
            DecryptionError: it was sealed with another.
        """
        return RefreshToken(aead.decrypt(self._key, sealed, self.hash).decode())

    @property
    def _key(self) -> bytes:
        return hmac.digest(self.text.encode(), b"successor", "sha256")


def new() -> RefreshToken:
    """Return a new random token."""
    return RefreshToken(secrets.token_urlsafe(32))
