"""One-time links: a token is an id and a keyed hash of it, so no secret is stored.

The record of the id decides whether the link is still valid.
"""

import hmac
import re
from datetime import timedelta
from uuid import UUID

from models.core import base64url, keys
from models.core.database import execute
from models.core.errors import NotFound

MAIL_PERIOD = timedelta(hours=24)
"""Time after the request in which the mail is attempted. The lifetime of the link begins then at the latest."""

_MAC_BYTES = 18
# 34 bytes are 46 characters of base64url. The last one has two bits of content: it is A, Q, g or w. Mail programs
# leave a final `-`, `_` or `=` out of the links that they recognise in text.
_TOKEN = re.compile(r"\s*([A-Za-z0-9_-]{46})(?:=|%3[Dd]|[\s.])*")


class LinkInvalid(NotFound):
    """The link is unknown, expired or already used."""

    code = "link_invalid"


def make(purpose: str, id: UUID) -> str:
    """Return the token for the record `id`. It has no padding and ends in a letter.

    Args:
        purpose: the only purpose that the token is valid for.
        id: the record.
    """
    return base64url.encode(id.bytes + _mac(purpose, id, keys.active_version()))


def read(purpose: str, token: str) -> UUID:
    """Return the id in a token. Ignore padding, blanks, line ends and full stops around it.

    Raises:
        LinkInvalid: the signature for this purpose is missing or wrong.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise LinkInvalid
    raw = base64url.decode(found[1])
    id = UUID(bytes=raw[:16])
    if not any(hmac.compare_digest(raw[16:], _mac(purpose, id, version)) for version in keys.versions()):
        raise LinkInvalid
    return id


def start_lifetime(purpose: str, id: UUID, lifetime: timedelta) -> None:
    """Start the lifetime of a link after the mail server has accepted its mail. Do nothing if it has started.

    Until then the record expires `MAIL_PERIOD + lifetime` after the request.
    """
    execute("SELECT app.begin_link(%s, %s, %s)", (purpose, id, lifetime))


def _mac(purpose: str, id: UUID, version: int) -> bytes:
    return keys.keyed_hash(f"link:{purpose}", id.bytes, version=version)[:_MAC_BYTES]
