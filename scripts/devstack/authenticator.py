"""Compute one-time codes for a program that signs in with a known TOTP secret."""

import time
from collections.abc import Iterator

from models.identity import totp


def codes(secret: str) -> Iterator[str]:
    """Yield codes until the caller gets one accepted.

    The server accepts each code once. If another program has used the current code, the code of the next time step is
    accepted, too. If that one is used as well, wait for one time step.
    """
    yield totp.code(secret)
    yield totp.code(secret, time.time() + totp.STEP)
    time.sleep(totp.STEP)
    yield totp.code(secret, time.time() + totp.STEP)
