"""base64url (RFC 4648, section 5), written without padding."""

import base64
import re

_TEXT = re.compile(r"([A-Za-z0-9_-]*)={0,2}")


def encode(raw: bytes) -> str:
    """Return the text of some bytes, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of a text with or without padding.

    The same bytes have several texts: unused bits of the last character may differ. A caller that accepts one text
    only compares the input with `encode` of the result.

    Raises:
        ValueError: the text is not base64url.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
