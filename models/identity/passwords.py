"""Passwords: argon2id at OWASP's minimum, and the few rules for choosing one."""

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
from models.identity import breached_passwords

MIN_LENGTH = 10
MAX_LENGTH = 128
"""In code points. The upper bound only keeps a request from being work; nothing is ever cut off."""

_SCORE = 3
_LOOKED_AT = 24
_WORDS = re.compile(r"\W+")
_MOST_READINGS = 4
"""Most readings of a password's signs as letters (`4` as `a`, `1` as `i` or `l`) that zxcvbn may try."""
_READINGS = [
    str.maketrans({sign: letter for letter, signs in table for sign in signs})
    for table in (L33T_TABLE.items(), reversed(L33T_TABLE.items()))
]
"""Each sign as the last letter, and as the first letter, that it may stand for."""
_estimating = threading.Lock()

# OWASP Password Storage Cheat Sheet, argon2id: m = 19 MiB, t = 2, p = 1.
_hasher = PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)


def require_good(password: str, email: str, name: str | None = None, *, field: str = "password") -> None:
    """Refuse what nobody should choose: it would be guessed within 10⁸ attempts (zxcvbn's score 3), by whoever knows
    the person's name and address, too, or has been stolen elsewhere. May ask another server: no transaction is open.

    Raises:
        Invalid: it is too short, too long, too easily guessed, or known to thieves; names `field`.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid(field, f"must have {MIN_LENGTH} to {MAX_LENGTH} characters")
    known = [email, *_WORDS.split(email), *_WORDS.split(name or ""), name or "", "companon"]
    if strength(_canonical(password), [word for word in known if word]) < _SCORE:
        raise Invalid(field, "is too easily guessed; several words that have nothing to do with each other are better")
    if breached_passwords.is_breached(_canonical(password)):
        raise Invalid(field, "has been stolen from somebody somewhere, and whoever guesses knows it; choose another")


def strength(password: str, known: list[str]) -> int:
    """Return zxcvbn's score, 0 to 4, at a bounded cost.

    Only the first characters are read. Further characters only make a password stronger, and the cost grows with the
    third power of their number. zxcvbn tries every reading of signs as letters, up to 576 for 24 signs. A password with
    more than `_MOST_READINGS` gets the lower score of two fixed readings instead.

    Args:
        password: in canonical form.
        known: words that an attacker would try first, cut at the same length: a longer word could not match.
    """
    password, known = password[:_LOOKED_AT], [word[:_LOOKED_AT] for word in known]
    readings = [password]
    if math.prod(max(1, len({*signs} & {*password})) for signs in L33T_TABLE.values()) > _MOST_READINGS:
        readings = [password.translate(reading) for reading in _READINGS]
    with _estimating:  # zxcvbn keeps `known` in a global dictionary
        return min(int(zxcvbn(reading, known)["score"]) for reading in readings)


def hash(password: str) -> str:  # noqa: A001
    """The argon2id hash to store; takes tens of milliseconds, so keep transactions out of its way."""
    return cpu_pool.run(_hasher.hash, _canonical(password))


def verify(stored: str | None, password: str) -> bool:
    """Whether `password` is the one that `stored` was made from. Without `stored` it takes as long, and it is not."""
    nobodys = _nobodys()  # in either case, so that the first time takes as long, too
    try:
        cpu_pool.run(_hasher.verify, stored or nobodys, _canonical(password))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def needs_rehash(stored: str) -> bool:
    """Whether `stored` was made with other parameters than those of today."""
    return _hasher.check_needs_rehash(stored)


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of an account that does not exist")


def _canonical(password: str) -> str:
    """One form for what looks the same, whatever keyboard it was typed on (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
