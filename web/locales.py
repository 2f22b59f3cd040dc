"""Languages that a client prefers (`Accept-Language`, RFC 9110, section 12.5.4)."""

import re

MAX_PREFERENCES = 10
"""Languages of one header that are read; the rest is ignored."""

_RANGE = re.compile(
    r"\s*([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,4})\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.ASCII
)


def preferred(accept_language: str | None) -> list[str]:
    """Return the language tags of the header, best first. Parts that are not language tags are ignored."""
    ranges = [_RANGE.fullmatch(part) for part in (accept_language or "").split(",", MAX_PREFERENCES)[:MAX_PREFERENCES]]
    weighed = [(found[1], float(found[2] or 1)) for found in ranges if found]
    return [tag for tag, weight in sorted(weighed, key=lambda one: -one[1]) if weight > 0]
