"""Look-up of passwords in a database of known breaches, with the range API of Have I Been Pwned.

The server receives the first five of forty hex digits of the password's SHA-1 and returns all digests with this prefix
(k-anonymity). If the look-up fails, the password is accepted: sign-ups must not depend on another server. No further
request is sent for `PAUSE` seconds then.

At most `LOOK_UPS` look-ups run at the same time. A further one counts as failed.
"""

import hashlib
import logging
import threading
import time

from models.core.http_fetch import fetch
from settings import settings

logger = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds until a look-up fails."""
PAUSE = 30.0
"""Seconds without look-ups after a failed one."""
MAX_BYTES = 262_144
LOOK_UPS = 8
"""Maximum number of concurrent look-ups of one process, and so of threads that a slow server occupies."""

_NOT_LOOKED_UP = "Breached passwords can't be looked up: %s: %s"
_PREFIX = 5
_paused_until = 0.0
_slots = threading.BoundedSemaphore(LOOK_UPS)


def is_breached(password: str) -> bool:
    """Return whether a password appears in a known data breach; False if the look-up fails."""
    if not settings.breached_passwords_url or time.monotonic() < _paused_until:
        return False
    if not _slots.acquire(blocking=False):
        logger.warning(_NOT_LOOKED_UP, "Overloaded", f"{LOOK_UPS} look-ups are still running")
        return False
    try:
        return _is_known(password)
    finally:
        _slots.release()


def _is_known(password: str) -> bool:
    digest = hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()
    try:
        found = _suffixes(digest[:_PREFIX])
    except (OSError, ValueError) as error:
        _pause(error)
        return False
    return digest[_PREFIX:] in found


def _suffixes(prefix: str) -> set[str]:
    # The response is padded with digests that have a count of 0, which hide the number of matches.
    url = f"{settings.breached_passwords_url.rstrip('/')}/{prefix}"
    lines = (
        fetch(url, timeout=TIMEOUT, max_bytes=MAX_BYTES, headers={"Add-Padding": "true"}).decode("ascii").splitlines()
    )
    pairs = (line.partition(":") for line in lines if line)
    return {suffix.strip().upper() for suffix, _, count in pairs if int(count) > 0}


def _pause(error: Exception) -> None:
    global _paused_until
    _paused_until = time.monotonic() + PAUSE
    logger.warning(_NOT_LOOKED_UP, type(error).__name__, error)
