"""Read and write the keys of verification."""

import json
from pathlib import Path
from typing import Any

from models.audit import chain, checkpoints
from models.audit.chain import KeyLookup
from models.audit.checkpoints import PublicKeys
from models.core import base64url, keys
from scripts.devstack.progress import SetupError


def mac_keys() -> dict[str, str]:
    """Return the MAC keys of all root versions. A holder of these keys can seal entries."""
    found = {version: chain.mac_key(version) for version in keys.versions()}
    return {str(version): base64url.encode(key) for version, key in found.items()}


def key_lookup(path: Path | None) -> KeyLookup:
    """Return the MAC keys of a file that `keys --mac` printed, or the system's own.

    Raises:
        SetupError: the file has no MAC keys.
    """
    if path is None:
        chain.mac_key(keys.active_version())
        return chain.mac_key
    try:
        read = {int(version): base64url.decode(key) for version, key in _json(path).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SetupError(f"{path}: {error}") from None
    return lambda version: read[int(version)]


def public_keys(path: Path | None) -> PublicKeys:
    """Return the public keys of a file that `keys` printed, or the system's own.

    Raises:
        SetupError: the file has no public keys.
    """
    try:
        return checkpoints.public_keys(checkpoints.public_key_set() if path is None else _json(path))
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise SetupError(str(error)) from None
