"""Texts for callers, which can be translated: English text that keeps the template it was made from."""

from collections.abc import Iterable
from typing import Any


class Message(str):
    """English text made from a template and values: `Message("at most {count} items", count=3)`.

    A text without values is a plain `str`: it is its own template. `web.http.translations` has the text of each
    template in the other languages, and a test finds templates that have none. A value that is a `Message` is
    translated, too.
    """

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> "Message":
        """Return the text of the template with the values."""
        message = super().__new__(cls, template.format(**values))
        message.template, message.values = template, values
        return message


class Joined(str):
    """Several texts in one, separated by semicolons."""

    parts: tuple[str, ...]

    def __new__(cls, parts: Iterable[str]) -> "Joined":
        """Return the text of all parts."""
        kept = tuple(parts)
        joined = super().__new__(cls, "; ".join(kept))
        joined.parts = kept
        return joined


REASON = "reason"
"""Key in `msgspec.Meta(extra=…)` of the text that says in plain words what the pattern of a field requires."""

NORMALISE = "normalise"
"""Key in `msgspec.Meta(extra=…)` of the rule of a text (web/http/normalise.py): it returns the text to use instead."""
