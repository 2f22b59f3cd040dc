"""Signed query strings of the local driver: each permits one method on one key until it expires."""

import hmac
import time
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

from models.core import base64url, keys
from models.core.signed_links import LinkInvalid

_PURPOSE = "storage-ticket"


def sign(method: str, key: str, expires_at: datetime, values: Mapping[str, str]) -> str:
    """Return the query string that permits `method` on `key`. `values` are part of the signature."""
    expires = str(int(expires_at.timestamp()))
    signature = _signature(keys.active_version(), method, key, expires, values)
    return urlencode({**values, "expires": expires, "signature": base64url.encode(signature)})


def verify(method: str, key: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a query string that `sign` has made.

    Raises:
        LinkInvalid: it was made for another method or key, was changed, or has expired.
    """
    values = {name: text for name, text in query.items() if name not in ("expires", "signature")}
    expires, signature = query.get("expires", ""), query.get("signature", "")
    genuine = [
        base64url.encode(_signature(version, method, key, expires, values)).encode() for version in keys.versions()
    ]
    sent = signature.encode()
    if not any(hmac.compare_digest(sent, one) for one in genuine) or int(expires) <= time.time():
        raise LinkInvalid
    return values


def _signature(version: int, method: str, key: str, expires: str, values: Mapping[str, str]) -> bytes:
    parts = (method, key, expires, *(text for pair in sorted(values.items()) for text in pair))
    return keys.keyed_hash(_PURPOSE, *(part.encode() for part in parts), version=version)
