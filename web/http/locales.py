"""Languages that a client prefers (`Accept-Language`, RFC 9110, section 12.5.4)."""

import re

from models.core import texts

MAX_PREFERENCES = 10
"""Languages of one header that are read; the rest is ignored."""

_RANGE = re.compile(r"\s*([A-Za-z0-9_-]{2,255})\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.ASCII)


def preferred(accept_language: str | None) -> list[str]:
    """Return the languages of the header with their regions, best first. Parts that name no language are ignored."""
    ranges = [_RANGE.fullmatch(part) for part in (accept_language or "").split(",", MAX_PREFERENCES)[:MAX_PREFERENCES]]
    weighed = [(texts.locale_or_none(found[1]), float(found[2] or 1)) for found in ranges if found]
    return [
        tag
        for tag, weight in sorted(weighed, key=lambda one: -one[1])
        if tag not in (None, texts.UNDETERMINED) and weight > 0
    ]
