"""Which URLs of brands may be called.

A URL names a host of the public internet by its DNS name. Its addresses are checked when it is saved, and again at each
connection (`models.core.http_fetch`), because a name may resolve to another address later.
"""

import re
from contextlib import suppress

from models.core import http_fetch, public_addresses
from models.core.errors import FieldError, Invalid
from models.core.messages import Message
from settings import settings

PORTS = (443, 8443)
"""Ports that may be called. Others belong to services that do not speak HTTPS."""
LOOK_UP_SECONDS = 1.0
"""Time limit of the look-up when a URL is saved. A name that can't be resolved in it is accepted."""

# Printable ASCII. One pattern for the whole URL: two parsers could read a backslash or a second `@` differently.
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?(?:[/?][!-\"$-~]*)?")
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
"""A DNS name with two labels or more. The last one begins with a letter: `0x7f.1`, `2130706433` and `127.0.0.1` are
notations of addresses."""
MALFORMED = Message(
    "must be an https URL in ASCII, without user name, password and fragment, such as"
    " https://hooks.brand.example/events"
)
_THIS_MACHINE = ("127.0.0.1", "localhost")


class TargetRefused(Invalid):
    """The URL may not be called: it is no https URL of a host of the public internet."""

    code = "webhook_url_refused"


def require_allowed(url: str) -> None:
    """Refuse a URL that may not be called. Looks its name up.

    Raises:
        TargetRefused: names the reason.
    """
    reason = _refusal(url)
    if reason is None and not _is_local(url):
        reason = _refusal_of_addresses(url)
    if reason is not None:
        raise TargetRefused(errors=[FieldError("url", reason)])


def is_allowed(url: str) -> bool:
    """Return whether a stored URL may be called. The settings may have changed since it was saved."""
    return _refusal(url) is None


def origin(url: str) -> str:
    """Return scheme and host of a stored URL, for texts: its path may contain a secret of the receiver."""
    parts = _URL.fullmatch(url)
    return f"{parts['scheme']}://{parts['host']}" if parts else ""


def allows(address: str) -> bool:
    """Return whether a connection to a numeric address is allowed."""
    if settings.webhook_local_targets == "yes" and public_addresses.is_loopback(address):
        return True
    return public_addresses.is_public(address)


def _refusal(url: str) -> Message | None:
    if _is_local(url):
        return None
    parts = _URL.fullmatch(url)
    if parts is None or parts["scheme"] != "https":
        return MALFORMED
    if not _NAME.fullmatch(parts["host"]):
        return Message("must name its host by a public DNS name, not by an address")
    if int(parts["port"] or 443) not in PORTS:
        return Message("must use port 443 or 8443")
    return None


def _refusal_of_addresses(url: str) -> Message | None:
    parts = _URL.fullmatch(url)
    assert parts is not None
    with suppress(OSError):
        addresses = http_fetch.addresses_of(parts["host"], int(parts["port"] or 443), timeout=LOOK_UP_SECONDS)
        if not all(map(allows, addresses)):
            return Message("must name a host of the public internet")
    return None


def _is_local(url: str) -> bool:
    """Return whether the URL names this machine, and the setting allows that."""
    parts = _URL.fullmatch(url)
    return parts is not None and settings.webhook_local_targets == "yes" and parts["host"] in _THIS_MACHINE
