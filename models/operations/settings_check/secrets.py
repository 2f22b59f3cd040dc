"""Check secrets: each must be random and not published."""

import json
import re
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg2.extensions import parse_dsn

from models.core import base64url

ROOT_BYTES = 32
"""Bytes of each root secret."""
DISTINCT_BYTES = 16
"""Least number of different bytes among 32. Random bytes have fewer once in 10^10 draws."""
TOKEN_CHARACTERS = 32
DISTINCT_CHARACTERS = 8
"""Least number of different characters among 32. Random hexadecimal digits have fewer once in 10^6 draws."""
PASSWORD_CHARACTERS = 12
PASSWORD_SCORE = 4
"""Least score of a password: the highest of zxcvbn, more than 10^10 guesses."""

_KNOWN_KEYS = frozenset(
    {
        "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",  # RFC 7515, A.3
        "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",  # RFC 7517, A.2
    }
)
"""Published private keys."""
_WORDS = re.compile("secret|example|change|passw|supabase|token|default|companon", re.IGNORECASE)
"""Words of published examples, such as Supabase's `your-super-secret-jwt-token-with-at-least-32-characters-long`."""


def password(text: str) -> str | None:
    """Return the fault of a service's password; None if it has none."""
    from models.identity.passwords import strength  # imported here: zxcvbn takes long to load its dictionaries

    if len(text) < PASSWORD_CHARACTERS:
        return f"has a password that has fewer than {PASSWORD_CHARACTERS} characters"
    known = ["companon", "postgres", "redis", "rabbitmq", "supabase"]
    return "has a password that is easy to guess" if strength(text, known) < PASSWORD_SCORE else None


def token(text: str) -> str | None:
    """Return the fault of a secret text (bearer token or signing secret)."""
    if len(text) < TOKEN_CHARACTERS:
        return f"must have {TOKEN_CHARACTERS} characters or more"
    is_weak = len(set(text)) < DISTINCT_CHARACTERS or _is_repetition(text) or _is_guessed(text)
    return "is published or not random" if is_weak or _WORDS.search(text) else None


def _is_guessed(text: str) -> bool:
    """Return whether a text is a sequence, a row of the keyboard or a phrase. A random secret has no spaces."""
    from models.identity.passwords import strength  # imported here: zxcvbn takes long to load its dictionaries

    return " " in text or strength(text, []) < PASSWORD_SCORE


def randomness(root: bytes) -> str | None:
    """Return the fault of 32 bytes that should be random."""
    if len(root) < ROOT_BYTES:
        return f"has a secret of fewer than {ROOT_BYTES} bytes"
    printable = all(0x20 <= byte < 0x7F for byte in root)
    steps = {(after - before) % 256 for before, after in pairwise(root)}  # a sequence has few different steps
    if min(len(set(root)), len(steps)) < DISTINCT_BYTES or printable or _is_repetition(root):
        return "has a secret that is not random"
    return None


def _is_repetition(text: str | bytes) -> bool:
    return (text + text).find(text, 1) < len(text)  # type: ignore[operator, arg-type]


def service_key(text: str) -> str | None:
    """Return the fault of a key that signs requests to a service."""
    name, _, secret = text.partition(":")
    try:
        key = base64url.decode(secret)
    except ValueError:
        key = b""
    if not name or not key:
        return "must be id:base64url"
    return randomness(key)


def secret_keys(text: str) -> str | None:
    """Return the fault of SECRET_KEYS."""
    if not text:
        return "is missing"
    versions = [item.partition(":")[0].strip() for item in text.split(",")]
    try:
        roots = _roots(text)
    except ValueError:
        roots = []
    if not roots or not all(version.isascii() and version.isdecimal() for version in versions):
        return "must be version:base64url, newest first, separated by commas"
    if len({int(version) for version in versions}) < len(versions):
        return "has one version twice"
    return _twice(roots) or next((fault for fault in map(randomness, roots) if fault), None)


def checkpoint_keys(text: str) -> str | None:
    """Return the fault of AUDIT_CHECKPOINT_KEYS."""
    if not text:
        return "is missing"  # every process that reads SECRET_KEYS could derive the keys
    try:
        seeds = [base64url.decode(item.strip()) for item in text.split(",")]
    except ValueError:
        return "must be base64url, separated by commas"
    if any(len(seed) > ROOT_BYTES for seed in seeds):
        return f"has a key of more than {ROOT_BYTES} bytes"
    return _twice(seeds) or next((fault for fault in map(randomness, seeds) if fault), None)


def auth_jwks(text: str) -> str | None:
    """Return the fault of AUTH_JWKS."""
    if not text:
        return "is missing"
    try:
        keys: list[dict[str, Any]] = json.loads(text)["keys"]
        if not keys or any((key["kty"], key["crv"]) != ("EC", "P-256") for key in keys):
            return "must hold keys for ES256 only"
        kids, private = [str(key["kid"]) for key in keys], [base64url.decode(key["d"]) for key in keys]
        is_consistent = all(map(_is_pair, keys, private))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "must be a set of private JWKs, each with a kid"
    if not is_consistent:
        return "holds a key whose public part belongs to another key"
    if len(set(kids)) < len(kids):
        return "has one kid twice"
    if any(key["d"] in _KNOWN_KEYS for key in keys):
        return "holds a published key"
    return _twice(private) or next((fault for fault in map(randomness, private) if fault), None)


def _is_pair(key: dict[str, Any], private: bytes) -> bool:
    numbers = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()).public_key().public_numbers()
    public = (int.from_bytes(base64url.decode(key["x"]), "big"), int.from_bytes(base64url.decode(key["y"]), "big"))
    return public == (numbers.x, numbers.y)


def _twice(secrets: list[bytes]) -> str | None:
    return "has one secret twice" if len(set(secrets)) < len(secrets) else None


def materials(variable: str, text: str) -> set[bytes]:
    """Return the secrets of a variable as bytes, to find secrets of two variables that are equal.

    Leave out unreadable secrets.
    """
    try:
        if variable == "SECRET_KEYS":
            return set(_roots(text))
        if variable == "AUDIT_CHECKPOINT_KEYS":
            return {base64url.decode(item.strip()) for item in text.split(",")}
        if variable == "AUTH_JWKS":
            return {base64url.decode(key["d"]) for key in json.loads(text)["keys"]}
        if variable.startswith("PASSPORT_") and variable.endswith("_KEY"):
            return _decoded(text.partition(":")[2])
        if variable.startswith("DATABASE_"):
            found = parse_dsn(text).get("password", "")
        else:
            found = unquote(urlsplit(text).password or "") if variable.endswith("_URL") else text
    except (ValueError, KeyError, TypeError, psycopg2.ProgrammingError):
        return set()
    return {found.encode(), *_decoded(found)} if found else set()


def _decoded(text: str) -> set[bytes]:
    """Return the bytes of a base64url text: a token may repeat a root secret in that form."""
    try:
        return {base64url.decode(text)}
    except ValueError:
        return set()


def _roots(text: str) -> list[bytes]:
    return [base64url.decode(item.partition(":")[2].strip()) for item in text.split(",")]
