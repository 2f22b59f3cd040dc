"""Passwords that have been stolen somewhere: looked up without being told (Have I Been Pwned's range API, or alike).

The server is sent the first five of forty hex digits of the password's SHA-1, and answers with all that begin so
(k-anonymity). Where it can't be asked, the password is taken: it has passed all that is looked at here, and nobody is
kept from signing up by somebody else's server being away. It is then left alone for `PAUSE` seconds.

At most `LOOK_UPS` passwords are looked up at the same time. One more counts as a look-up that failed.
"""

import hashlib
import logging
import threading
import time

from models.core.http_fetch import fetch
from settings import settings

logger = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds that an answer may take."""
PAUSE = 30.0
"""Seconds for which a server that has failed isn't asked."""
MAX_BYTES = 262_144
LOOK_UPS = 8
"""Most look-ups of one process at the same time. A slow server may occupy so many threads."""

_NOT_LOOKED_UP = "Stolen passwords can't be looked up: %s: %s"
_PREFIX = 5
_again_at = 0.0
_places = threading.BoundedSemaphore(LOOK_UPS)


def is_breached(password: str) -> bool:
    """Whether it is among those that are known to have been stolen; False where that can't be known."""
    if not settings.breached_passwords_url or time.monotonic() < _again_at:
        return False
    if not _places.acquire(blocking=False):
        logger.warning(_NOT_LOOKED_UP, "Overloaded", f"{LOOK_UPS} look-ups are still running")
        return False
    try:
        return _is_known(password)
    finally:
        _places.release()


def _is_known(password: str) -> bool:
    digest = hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()
    try:
        found = _suffixes(digest[:_PREFIX])
    except (OSError, ValueError) as error:
        _leave_alone(error)
        return False
    return digest[_PREFIX:] in found


def _suffixes(prefix: str) -> set[str]:
    """The rest of all digests that begin so. Padding, which hides how many there are, is counted 0 times."""
    url = f"{settings.breached_passwords_url.rstrip('/')}/{prefix}"
    lines = (
        fetch(url, timeout=TIMEOUT, max_bytes=MAX_BYTES, headers={"Add-Padding": "true"}).decode("ascii").splitlines()
    )
    pairs = (line.partition(":") for line in lines if line)
    return {suffix.strip().upper() for suffix, _, count in pairs if int(count) > 0}


def _leave_alone(error: Exception) -> None:
    global _again_at
    _again_at = time.monotonic() + PAUSE
    logger.warning(_NOT_LOOKED_UP, type(error).__name__, error)
