"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, as authenticator apps support them."""

import hmac
import time
from dataclasses import dataclass
from uuid import UUID

import pyotp

from models.core import aead, keys

STEP = 30
"""Seconds that one code is valid for."""
ISSUER = "Compañon"

_PURPOSE = "totp-secret"
_DRIFT = 1  # steps by which a phone's clock may be fast or slow


@dataclass(frozen=True, slots=True)
class EncryptedSecret:
    """A stored secret: AES-256-GCM, bound to the id of its user."""

    secret: bytes
    key_version: int


def new_secret() -> str:
    """Return 160 random bits in base32, the length that RFC 4226, section 4, recommends."""
    return pyotp.random_base32(32)


def uri(secret: str, account: str) -> str:
    """Return the URI that an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def code(secret: str, at: float | None = None) -> str:
    """Return the code at a Unix time, now by default."""
    return pyotp.TOTP(secret).generate_otp(_step(time.time() if at is None else at))


def step_of(secret: str, code: str, at: float | None = None) -> int | None:
    """Return the time step of a code if it is at most one step from `at` (now by default), otherwise None."""
    now = _step(time.time() if at is None else at)
    generate = pyotp.TOTP(secret).generate_otp
    steps = range(now - _DRIFT, now + _DRIFT + 1)
    # Compare all codes: the duration would show which one matched otherwise.
    found = [step for step in steps if hmac.compare_digest(generate(step).encode(), code.encode())]
    return found[0] if found else None


def encrypt(secret: str, user_id: UUID) -> EncryptedSecret:
    """Encrypt a secret with the active key."""
    version = keys.active_version()
    return EncryptedSecret(aead.encrypt(keys.derive(_PURPOSE, version), secret.encode(), user_id.bytes), version)


def decrypt(encrypted: EncryptedSecret, user_id: UUID) -> str:
    """Decrypt a stored secret.

    Raises:
        DecryptionError: the secret is another user's, or was changed.
        KeyError: the root secret of its key version is missing.
    """
    return aead.decrypt(keys.derive(_PURPOSE, encrypted.key_version), encrypted.secret, user_id.bytes).decode()


def _step(at: float) -> int:
    return int(at) // STEP
