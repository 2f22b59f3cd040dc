"""Derived keys: one key for each purpose and version of the root secrets.

Keys are derived with HKDF-SHA256 (RFC 5869). A key that leaks reveals no key of another purpose. A rotation puts a new
version in front of SECRET_KEYS; the old versions stay readable.
"""

import hashlib
import hmac
from functools import cache

from models.core import base64url
from settings import settings


@cache
def _roots() -> dict[int, bytes]:
    roots: dict[int, bytes] = {}
    for item in filter(None, settings.secret_keys.split(",")):
        version, _, text = item.partition(":")
        roots[int(version)] = base64url.decode(text.strip())
    if not roots or any(len(root) < 32 for root in roots.values()):
        raise RuntimeError("SECRET_KEYS must hold at least one version with 32 bytes or more")
    return roots


def active_version() -> int:
    """Return the version for new hashes and ciphertexts: the first one in SECRET_KEYS."""
    return next(iter(_roots()))


def versions() -> list[int]:
    """Return every version that can be read, the active one first."""
    return list(_roots())


@cache
def derive(purpose: str, version: int | None = None) -> bytes:
    """Return the 32-byte key for `purpose`, from the root secret of `version` (default: the active one).

    HKDF-SHA256 with the purpose as `info` (RFC 5869, sections 2.2 and 2.3; one block is enough).

    Raises:
        KeyError: there is no root secret of that version.
    """
    root = _roots()[active_version() if version is None else version]
    extracted = hmac.digest(b"companon", root, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


def keyed_hash(purpose: str, *parts: bytes, version: int | None = None) -> bytes:
    """Return `hash_with` under the key for `purpose` of a version (default: the active one)."""
    return hash_with(derive(purpose, version), *parts)


def hash_with(key: bytes, *parts: bytes) -> bytes:
    """Return the HMAC-SHA256 of `parts`. Each is prefixed with its length, so that no two lists collide."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big"))
        mac.update(part)
    return mac.digest()
