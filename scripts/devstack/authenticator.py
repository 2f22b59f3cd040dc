"""A program's authenticator: what it shows when it signs in as somebody whose secret it has been given."""

import time
from collections.abc import Iterator

from models.identity import totp


def codes(secret: str) -> Iterator[str]:
    """The codes to show, one after the other until one is taken.

    A code is good once. Where the present one has been used (another program has just signed in), the next one is
    taken, too; where that has been used as well, there is one to wait for.
    """
    yield totp.code(secret)
    yield totp.code(secret, time.time() + totp.STEP)
    time.sleep(totp.STEP)
    yield totp.code(secret, time.time() + totp.STEP)
