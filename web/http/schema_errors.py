"""Read the invalid field from msgspec's messages: ` - at `$.location.lat``."""

import re

import msgspec

_PATH = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`$", re.DOTALL)
_ABOUT_A_FIELD = re.compile(
    r"^Object (?:missing required|contains unknown) field `(?P<field>.*?)`(?: - at|$)", re.DOTALL
)


def field_of(error: msgspec.ValidationError) -> str:
    """Return the path of the field that msgspec names, with `[...]` for any key of a dictionary."""
    message = str(error)
    path = ""
    if match := _PATH.search(message):
        path = match["path"].lstrip(".")
    if found := _ABOUT_A_FIELD.match(message):
        name = found["field"][:80] or '""'
        return f"{path}.{name}" if path else name
    return path or "body"
