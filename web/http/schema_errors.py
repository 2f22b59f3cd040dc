"""Convert msgspec's messages to `{"field": "location.lat", "reason": "…"}`."""

import re

import msgspec

from models.core.errors import Invalid

_PATH = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`$", re.DOTALL)
_ABOUT_A_FIELD = (
    (re.compile(r"^Object missing required field `(?P<field>[^`]*)`$"), "required"),
    (re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL), "unknown field"),
)


def invalid(error: msgspec.ValidationError) -> Invalid:
    """Return the problem with the invalid field and the reason of a validation error."""
    message = str(error)
    path = ""
    if match := _PATH.search(message):
        path = match["path"].lstrip(".")
        message = message[: match.start()]
    for pattern, reason in _ABOUT_A_FIELD:
        if found := pattern.match(message):
            name = found["field"][:80] or '""'
            return Invalid(f"{path}.{name}" if path else name, reason)
    reason = message.replace("`", "")
    return Invalid(path or "body", reason[:1].lower() + reason[1:])
