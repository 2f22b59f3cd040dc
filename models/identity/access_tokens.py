"""Access tokens: JWTs signed with ES256, with the same claims as Supabase's."""

import json
import time
from functools import cache
from typing import Any
from uuid import UUID

from cachetools import LRUCache
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import KeySet

from models.core.errors import TokenExpired, Unauthenticated
from settings import settings

LIFETIME = 3600
"""Seconds until an access token expires. It is refused earlier if its session ends."""

KEYS_MAX_AGE = 600
"""Seconds for which clients may cache the public keys. A new key is published that long before it signs."""

AUDIENCE = "authenticated"
_ALGORITHMS = ["ES256"]
_PUBLISHED = ("kty", "crv", "x", "y", "kid", "use", "alg")
_CACHE_SIZE = 10_000


def issuer() -> str:
    """Return the `iss` claim of our tokens."""
    return f"{settings.public_url.rstrip('/')}/api/v1/auth"


@cache
def _keys() -> KeySet:
    if not settings.auth_jwks:
        raise RuntimeError("AUTH_JWKS must hold at least one private ES256 key")
    return KeySet.import_key_set(json.loads(settings.auth_jwks))


def public_keys() -> dict[str, Any]:
    """Return the public keys as a JWK set (RFC 7517), including keys that do not sign yet."""
    published = [key.as_dict(private=False) | {"use": "sig", "alg": "ES256"} for key in _keys().keys]
    return {"keys": [{name: key[name] for name in _PUBLISHED} for key in published]}


def issue(
    *,
    user_id: UUID,
    session_id: UUID,
    user_role: str,
    brand_id: UUID | None,
    email: str | None = None,
    is_anonymous: bool = False,
    aal: str = "aal1",
    mfa_pending: bool = False,
) -> str:
    """Issue an access token for a session. It expires after `LIFETIME` seconds.

    With `mfa_pending`, it is accepted by the endpoints for MFA only (`context.Identity.mfa_pending`).
    """
    key = _keys().keys[0]
    issued_at = int(time.time())
    claims = {
        "iss": issuer(),
        "aud": AUDIENCE,
        "sub": str(user_id),
        "iat": issued_at,
        "exp": issued_at + LIFETIME,
        "role": "authenticated",
        "session_id": str(session_id),
        "aal": aal,
        "is_anonymous": is_anonymous,
        "email": email or "",
        "app_metadata": {"user_role": user_role, "brand_id": brand_id and str(brand_id)},
    }
    if mfa_pending:
        claims["mfa_pending"] = True
    return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "JWT"}, claims, key, algorithms=_ALGORITHMS)


# Only the event loop verifies tokens, so the cache needs no lock. The expiry is checked on every request.
_verified: LRUCache[str, dict[str, Any]] = LRUCache(_CACHE_SIZE)
_rules = jwt.JWTClaimsRegistry(
    leeway=30,
    exp={"essential": True},
    sub={"essential": True},
    session_id={"essential": True},
    aud={"essential": True, "value": AUDIENCE},
)


def verify(token: str) -> dict[str, Any]:
    """Return the claims of an access token, after checking its signature and expiry.

    The database checks the session in every transaction (`app.require_session`).

    Raises:
        Unauthenticated: the token is malformed, expired, or not signed by us.
    """
    claims = _verified.get(token)
    if claims is None:
        claims = _verified[token] = _decode(token)
    if claims["exp"] < time.time():
        raise TokenExpired
    return claims


def _decode(token: str) -> dict[str, Any]:
    try:
        claims = jwt.decode(token, _keys(), algorithms=_ALGORITHMS).claims
        _rules.validate(claims)
        if claims.get("iss") != issuer():
            raise ValueError("issuer")
        UUID(claims["sub"]), UUID(claims["session_id"])
    except ExpiredTokenError:
        raise TokenExpired from None
    except (JoseError, ValueError, TypeError, AttributeError, KeyError):
        raise Unauthenticated("The access token is not valid.") from None
    return dict(claims)
