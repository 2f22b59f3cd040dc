"""Refresh tokens: random and opaque; each is good once and makes its successor."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from models.core import aead


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token, and what is stored in its place."""

    text: str

    @property
    def hash(self) -> bytes:
        """What it is found by. There are 256 random bits in a token: nobody guesses one, fast as the hash is."""
        return hashlib.sha256(self.text.encode()).digest()

    def seal(self, successor: "RefreshToken") -> bytes:
        """The successor, readable for nobody but who has this token."""
        return aead.encrypt(self._key, successor.text.encode(), self.hash)

    def unseal(self, sealed: bytes) -> "RefreshToken":
        """The successor that was sealed with this token.

        Raises:
            DecryptionError: it was sealed with another.
        """
        return RefreshToken(aead.decrypt(self._key, sealed, self.hash).decode())

    @property
    def _key(self) -> bytes:
        return hmac.digest(self.text.encode(), b"successor", "sha256")


def new() -> RefreshToken:
    """A token that nobody has seen."""
    return RefreshToken(secrets.token_urlsafe(32))
