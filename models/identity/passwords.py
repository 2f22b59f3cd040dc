"""Password hashes (argon2id with OWASP's minimum parameters) and the rules for new passwords."""

import math
import re
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn
from zxcvbn.matching import L33T_TABLE

from models.core import cpu_pool
from models.core.errors import Invalid
from models.core.messages import Message
from models.identity import breached_passwords

MIN_LENGTH = 10
MAX_LENGTH = 128
"""Code points. The upper bound limits the work of a request. No password is truncated."""

_MIN_SCORE = 3
_MAX_ESTIMATED_LENGTH = 24
_WORDS = re.compile(r"\W+")
_MAX_READINGS = 4
"""Maximum number of readings of signs as letters (`4` as `a`, `1` as `i` or `l`) that zxcvbn tries."""
_READINGS = [
    str.maketrans({sign: letter for letter, signs in table for sign in signs})
    for table in (L33T_TABLE.items(), reversed(L33T_TABLE.items()))
]
"""Each sign as the last letter, and as the first letter, that it may stand for."""
_estimating = threading.Lock()

# OWASP Password Storage Cheat Sheet, argon2id: m = 19 MiB, t = 2, p = 1.
_hasher = PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)


def require_good(password: str, email: str, name: str | None = None, *, field: str = "password") -> None:
    """Refuse a weak or breached password.

    A password is weak if an attacker who knows the person's name and address would need fewer than 10⁸ guesses
    (zxcvbn's score 3). Call outside of transactions: the look-up of breaches sends a request to another server.

    Raises:
        Invalid: the password is too short, too long, easy to guess, or appears in a known data breach. Names `field`.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid(field, Message("must have {least} to {most} characters", least=MIN_LENGTH, most=MAX_LENGTH))
    known = [email, *_WORDS.split(email), *_WORDS.split(name or ""), name or "", "companon"]
    if strength(_canonical(password), [word for word in known if word]) < _MIN_SCORE:
        raise Invalid(field, "is easy to guess: use several unrelated words")
    if breached_passwords.is_breached(_canonical(password)):
        raise Invalid(field, "appears in a known data breach: choose another password")


def strength(password: str, known: list[str]) -> int:
    """Return zxcvbn's score, 0 to 4, at a bounded cost.

    Only the first characters are read. Further characters only make a password stronger, and the cost grows with the
    third power of their number. zxcvbn tries every reading of signs as letters, up to 576 for 24 signs. A password with
    more than `_MAX_READINGS` gets the lower score of two fixed readings instead.

    Args:
        password: in canonical form.
        known: words that an attacker would try first, cut at the same length: a longer word could not match.
    """
    password, known = password[:_MAX_ESTIMATED_LENGTH], [word[:_MAX_ESTIMATED_LENGTH] for word in known]
    readings = [password]
    if math.prod(max(1, len({*signs} & {*password})) for signs in L33T_TABLE.values()) > _MAX_READINGS:
        readings = [password.translate(reading) for reading in _READINGS]
    with _estimating:  # zxcvbn keeps `known` in a global dictionary
        return min(int(zxcvbn(reading, known)["score"]) for reading in readings)


def hash(password: str) -> str:  # noqa: A001
    """Return the argon2id hash to store. Takes tens of milliseconds, so call outside of transactions."""
    return cpu_pool.run(_hasher.hash, _canonical(password))


def verify(stored: str | None, password: str) -> bool:
    """Return whether `stored` is a hash of `password`. Without `stored`, take as long and return False."""
    dummy = _dummy_hash()  # always called: the first call would be slower for unknown accounts otherwise
    try:
        cpu_pool.run(_hasher.verify, stored or dummy, _canonical(password))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def needs_rehash(stored: str) -> bool:
    """Return whether `stored` was hashed with other parameters than the present ones."""
    return _hasher.check_needs_rehash(stored)


@cache
def _dummy_hash() -> str:
    return _hasher.hash("the password of an account that does not exist")


def _canonical(password: str) -> str:
    # NIST SP 800-63B, 3.1.1.2: the same characters, typed on another keyboard, have the same form.
    return unicodedata.normalize("NFKC", password)
