"""One-time links: a token that is an id and our keyed hash of it, so that nothing secret is stored anywhere."""

import base64
import binascii
import hmac
from uuid import UUID

from models import keys
from models.errors import NotFound

_MAC_BYTES = 18


class LinkInvalid(NotFound):
    """The link was not made here, has been used, or is too old."""

    code = "link_invalid"
    title = "This link is not valid (any more)"


def make(purpose: str, id: UUID) -> str:
    """The token for the record `id`, good for one purpose only."""
    return base64.urlsafe_b64encode(id.bytes + _mac(purpose, id, keys.active_version())).decode()


def read(purpose: str, token: str) -> UUID:
    """The id that a token was made for.

    Raises:
        LinkInvalid: it was not made by us for this purpose.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise LinkInvalid from None
    if len(raw) != 16 + _MAC_BYTES:
        raise LinkInvalid
    id = UUID(bytes=raw[:16])
    if not any(hmac.compare_digest(raw[16:], _mac(purpose, id, version)) for version in keys.versions()):
        raise LinkInvalid
    return id


def _mac(purpose: str, id: UUID, version: int) -> bytes:
    return keys.keyed_hash(f"link:{purpose}", id.bytes, version=version)[:_MAC_BYTES]
