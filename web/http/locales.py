"""Languages that a client prefers (`Accept-Language`, RFC 9110, section 12.5.4)."""

import re
from collections.abc import Sequence

from falcon.asgi import Request
from msgspec import UnsetType

from models.core import texts

ENGLISH = "en"
MAX_PREFERENCES = 10
"""Languages of one header that are read; the rest is ignored."""

_RANGE = re.compile(r"\s*(\*|[A-Za-z0-9_-]{2,255})\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.ASCII)


def preferred(accept_language: str | None) -> list[str]:
    """Return the languages of the header with their regions, best first. Parts that name no language are ignored."""
    weighed = [(texts.locale_or_none(tag), weight) for tag, weight in _ranges(accept_language)]
    return [
        tag
        for tag, weight in sorted(weighed, key=lambda one: -one[1])
        if tag not in (None, texts.UNDETERMINED) and weight > 0
    ]


def chosen(given: str | UnsetType, req: Request) -> str:
    """Return the language that a body gives, else the first one of `Accept-Language`, else English."""
    if isinstance(given, str):
        return given
    return next(iter(preferred(req.get_header("Accept-Language"))), ENGLISH)


def best(accept_language: str | None, offered: Sequence[str]) -> str:
    """Return the offered language that the header prefers: `es-MX` accepts `es`, `*` each language not named.

    The first of equal weight in the header is taken. If the header accepts none of them, the first offered one is: an
    answer in a foreign language is better than none.
    """
    ranges = [(re.split("[-_]", tag)[0].lower(), weight) for tag, weight in _ranges(accept_language)]
    named = {tag for tag, _ in ranges}
    wanted = [
        (-weight, position, order)
        for position, (tag, weight) in enumerate(ranges)
        for order, language in enumerate(offered)
        if weight > 0 and (tag == language or (tag == "*" and language not in named))
    ]
    return offered[min(wanted)[2]] if wanted else offered[0]


def _ranges(accept_language: str | None) -> list[tuple[str, float]]:
    """Return the language ranges of the header with their weights."""
    parts = (accept_language or "").split(",", MAX_PREFERENCES)[:MAX_PREFERENCES]
    return [(found[1], float(found[2] or 1)) for part in parts if (found := _RANGE.fullmatch(part))]
