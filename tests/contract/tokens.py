"""Access tokens that are almost valid."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from models.core.context import FAN, SYSTEM_ADMIN
from models.identity import access_tokens
from tests.contract.seed import Caller
from tests.fixtures.supabase import SupabaseProject


@cache
def forged(caller: Caller) -> list[tuple[str, str]]:
    """Return tokens made of a valid one, each with the name of its fault."""
    assert caller.token is not None
    role = json.loads(_decoded(caller.token.split(".")[1]))["app_metadata"]["user_role"]
    another = FAN if role == SYSTEM_ADMIN else SYSTEM_ADMIN
    elevated = {"in another role": {"app_metadata": {"user_role": another, "brand_id": None}}}
    return list(_forged(caller.token, access_tokens._keys().keys[0], CLAIMS | PERSONS | elevated))


def forged_of(project: SupabaseProject) -> list[tuple[str, str]]:
    """Return faulty tokens of a Supabase project. They may name unknown people and sessions."""
    return list(_forged(project.token(), project.key, CLAIMS | THEIRS))


def _forged(token: str, key: Any, changed: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    header, payload, signature = token.split(".")
    claims = json.loads(_decoded(payload))
    kid = json.loads(_decoded(header))["kid"]
    yield "no signature", f"{header}.{payload}."
    yield "two parts", f"{header}.{payload}"
    yield "four parts", f"{header}.{payload}.{signature}.{signature}"
    yield "empty parts", ".."
    yield "another signature", f"{header}.{payload}.{_flipped(signature)}"
    yield "a signature of zeros", f"{header}.{payload}.{_encoded(bytes(64))}"
    yield "another payload", f"{header}.{_encoded(json.dumps(claims | {'email': 'x'}).encode())}.{signature}"
    for alg in ("none", "None", "HS256", "ES384", "RS256", "", None, 1, [], {"a": 1}):
        yield f"alg {alg!r}", f"{_encoded(json.dumps({'alg': alg, 'kid': kid}).encode())}.{payload}.{signature}"
    yield "alg none without signature", f"{_encoded(json.dumps({'alg': 'none'}).encode())}.{payload}."
    yield "signed with the public key as a secret", _by_public_key(claims, key, kid)
    yield "key of another issuer", _signed(claims, ECKey.generate_key("P-256"), kid)
    yield "key in the header", _with_own_key(claims)
    for name, part in (("unknown kid", {"kid": "x"}), ("no kid", {}), ("kid is a path", {"kid": "../../dev/null"})):
        yield name, _encoded(json.dumps({"alg": "ES256", **part}).encode()) + f".{payload}.{_flipped(signature)}"
    yield (
        "critical header",
        _encoded(json.dumps({"alg": "ES256", "kid": kid, "crit": ["x"]}).encode()) + f".{payload}.x",
    )
    for name, text in (
        ("no JSON", b"x"),
        ("an array", b"[]"),
        ("NUL", b"\0"),
        ("deep", b"[" * 3000),
        ("null", b"null"),
    ):
        yield f"header: {name}", f"{_encoded(text)}.{payload}.{signature}"
        yield f"payload: {name}", f"{header}.{_encoded(text)}.{signature}"
    for name, changes in changed.items():
        kept = {name: value for name, value in (claims | changes).items() if value is not ...}
        yield f"correctly signed, but {name}", _signed(kept, key, kid)


_LONG_AGO = {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}

CLAIMS: dict[str, dict[str, Any]] = {
    "expired": _LONG_AGO,
    "without expiry": {"exp": ...},
    "with a text as expiry": {"exp": "tomorrow"},
    "not valid yet": {"nbf": int(time.time()) + 3600},
    "with another audience": {"aud": "elsewhere"},
    "from another issuer": {"iss": "https://elsewhere.example"},
    "without a subject": {"sub": ...},
    "with an invalid subject": {"sub": "x"},
    "with a number as subject": {"sub": 1},
    "with NUL in its subject": {"sub": "\0"},
    "without a session": {"session_id": ...},
    "with an invalid session": {"session_id": ["x"]},
}
"""Faults of correctly signed tokens. Only a mistake of the signer can cause them."""

PERSONS: dict[str, dict[str, Any]] = {
    "with an unknown session": {"session_id": "0197a000-ffff-7000-8000-ffffffffffff"},
    "with an unknown person": {"sub": "0197a000-ffff-7000-8000-ffffffffffff"},
    "in a role that is unknown": {"app_metadata": {"user_role": "Root", "brand_id": None}},
    "in a role of an unknown brand": {
        "app_metadata": {"user_role": "Brand Admin", "brand_id": "0197a000-ffff-7000-8000-ffffffffffff"}
    },
}
"""Faults of correctly signed tokens where this installation creates all people and sessions."""

THEIRS: dict[str, dict[str, Any]] = {
    "of an API key": {"role": "service_role", "sub": ..., "session_id": ..., "aud": ...},
    "for the service": {"role": "service_role"},
    "for anonymous callers": {"role": "anon"},
    "for another audience": {"aud": ["elsewhere", "else"]},
    "of another project": {"iss": "https://elsewhere.supabase.co/auth/v1"},
    "without a database role": {"role": ...},
    "issued tomorrow": {"iat": int(time.time()) + 86_400},
    "in a role that is unknown": {"app_metadata": {"user_role": "Root"}},
    "in a role without its brand": {"app_metadata": {"user_role": "Brand Admin"}},
    "in a role that is an object": {"app_metadata": {"user_role": {"name": "Fan"}}},
    "in a role of an unknown brand": {
        "app_metadata": {"user_role": "Brand Admin", "brand_id": "0197a000-ffff-7000-8000-ffffffffffff"}
    },
    "in a role of a malformed brand": {"app_metadata": {"user_role": "Brand Admin", "brand_id": "\0"}},
}
"""Faults of tokens that a Supabase project may sign."""


def _signed(claims: dict[str, Any], key: Any, kid: str) -> str:
    return jwt.encode({"alg": "ES256", "kid": kid, "typ": "JWT"}, claims, key, algorithms=["ES256"])


def _by_public_key(claims: dict[str, Any], key: Any, kid: str) -> str:
    """Return a token signed with the public key as an HMAC secret. No library makes such a token any more."""
    head = _encoded(json.dumps({"alg": "HS256", "kid": kid}).encode())
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    return f"{signed}.{_encoded(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"


def _with_own_key(claims: dict[str, Any]) -> str:
    key = ECKey.generate_key("P-256")
    return jwt.encode({"alg": "ES256", "jwk": key.as_dict(private=False)}, claims, key, algorithms=["ES256"])


def _flipped(text: str) -> str:
    raw = _decoded(text)
    return _encoded(bytes([raw[0] ^ 1]) + raw[1:])


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
