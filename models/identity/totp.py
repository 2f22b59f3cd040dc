"""Time-based one-time passwords (RFC 6238) as authenticator apps make them: SHA-1, six digits, a new one every 30 s."""

import hmac
import time
from dataclasses import dataclass
from uuid import UUID

import pyotp

from models.core import aead, keys

STEP = 30
"""Seconds."""
ISSUER = "Compañon"

_PURPOSE = "totp-secret"
_DRIFT = 1  # steps that a phone's clock may be off, either way


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored: AES-256-GCM, bound to whose it is."""

    secret: bytes
    key_version: int


def new_secret() -> str:
    """160 random bits in base32 (RFC 4226, section 4: what is recommended)."""
    return pyotp.random_base32(32)


def uri(secret: str, account: str) -> str:
    """What an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def code(secret: str, at: float | None = None) -> str:
    """The code at a moment, now by default."""
    return pyotp.TOTP(secret).generate_otp(_step(time.time() if at is None else at))


def step_of(secret: str, code: str, at: float | None = None) -> int | None:
    """Which time step the code is of, if it is one of those around `at` (now by default)."""
    now = _step(time.time() if at is None else at)
    generate = pyotp.TOTP(secret).generate_otp
    steps = range(now - _DRIFT, now + _DRIFT + 1)
    # All are compared, so that the time it takes doesn't say which it was.
    found = [step for step in steps if hmac.compare_digest(generate(step).encode(), code.encode())]
    return found[0] if found else None


def seal(secret: str, user_id: UUID) -> Sealed:
    """The secret as it is stored, with today's key."""
    version = keys.active_version()
    return Sealed(aead.encrypt(keys.derive(_PURPOSE, version), secret.encode(), user_id.bytes), version)


def unseal(sealed: Sealed, user_id: UUID) -> str:
    """A stored secret.

    Raises:
        DecryptionError: it is somebody else's, or has been changed.
        KeyError: the key that it was sealed with isn't there any more.
    """
    return aead.decrypt(keys.derive(_PURPOSE, sealed.key_version), sealed.secret, user_id.bytes).decode()


def _step(at: float) -> int:
    return int(at) // STEP
