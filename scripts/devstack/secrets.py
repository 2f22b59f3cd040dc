"""Create this machine's secrets once. `python -m scripts.devstack.secrets` prints new ones for another system."""

import base64
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from models.core import base64url
from scripts.devstack.processes import write_atomically

ADMIN_EMAIL = "admin@companon.example"
PASSWORDS = ("POSTGRES", "OWNER", "WEB", "ACCOUNT", "SCAN", "WORKER", "SEAL", "REDIS")
"""Passwords of the servers in compose.yaml, one for each login."""


@dataclass(frozen=True)
class Secrets:
    """Root secrets, token keys, and the first System Admin's e-mail address, password and TOTP secret."""

    secret_keys: str
    auth_jwks: str
    admin_email: str
    admin_password: str
    admin_totp_secret: str


def load_or_make(path: Path) -> Secrets:
    """Read the secrets from a file that only its owner can read. Create missing ones."""
    known = json.loads(path.read_text()) if path.exists() else {}
    secrets = Secrets(**(asdict(make()) | known))
    if asdict(secrets) != known:
        write_atomically(path, json.dumps(asdict(secrets), indent=2) + "\n")
    return secrets


def make() -> Secrets:
    """Create secrets.

    They are a 256-bit root, an ES256 key named by its thumbprint (RFC 7638), a 144-bit password and a 160-bit TOTP
    secret.
    """
    return Secrets(
        secret_keys="1:" + new_root(),
        auth_jwks=json.dumps({"keys": [new_key(int(time.time()))]}),
        admin_email=ADMIN_EMAIL,
        admin_password=base64url.encode(os.urandom(18)),
        admin_totp_secret=base64.b32encode(os.urandom(20)).decode(),
    )


def new_root() -> str:
    """Return 256 random bits in the encoding of SECRET_KEYS."""
    return base64url.encode(os.urandom(32))


def new_key(now: int) -> dict[str, Any]:
    """Create a private ES256 key, named by its thumbprint (RFC 7638), with issue time `now` (Unix seconds).

    One in 64 thumbprints begins with `-`, like an option of a command. Such a key is discarded.
    """
    while True:
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
        key.ensure_kid()
        if not str(key.kid).startswith("-"):
            break
    return {**key.as_dict(private=True), "iat": now}


if __name__ == "__main__":
    made = make()
    print(f"SECRET_KEYS={made.secret_keys}\nAUTH_JWKS='{made.auth_jwks}'")
    print(f"AUDIT_CHECKPOINT_KEYS={new_root()}\nMETRICS_TOKEN={os.urandom(24).hex()}")
    for name in PASSWORDS:
        print(f"{name}_PASSWORD={os.urandom(24).hex()}")
