"""Sign-in through a Supabase project: verification of its access tokens, and rows for their users and sessions.

A token identifies the user and the session. Role and brand come from `users`: the first token of a user sets them, and
later tokens do not change them.
"""

import math
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key, OctKey

from models.core import base64url, context, emails
from models.core.context import Identity
from models.core.database import row, transaction
from models.core.errors import Forbidden, Invalid, SessionEnded, TokenExpired, Unauthenticated, Unavailable
from models.identity import accounts
from models.identity.jwks import RemoteKeys
from settings import Settings, settings

LEEWAY = 30
"""Seconds by which Supabase's clock may be ahead of ours."""
MIN_SECRET_BYTES = 32
_ROLE = "authenticated"
_REFRESHED = ("token_refresh", "anonymous")
"""Methods in `amr` that do not authenticate the person."""


class UnknownRole(Forbidden):
    """`app_metadata` names a role or a brand that does not exist."""

    code = "unknown_role"


class LegacyToken(Forbidden):
    """A system admin's token was signed with the legacy secret, with which its holder can forge tokens of all users."""

    code = "legacy_token"


@dataclass(frozen=True, slots=True)
class Project:
    """Settings of a Supabase project for the verification of its tokens."""

    issuer: str
    jwks_url: str
    audience: str
    secret: str
    confirms_emails: bool

    @classmethod
    def of(cls, config: Settings) -> "Project":
        """Read the project from the settings.

        Raises:
            ValueError: a setting is missing or unsafe; names the setting.
        """
        url = config.supabase_url.rstrip("/")
        issuer = config.supabase_issuer or (f"{url}/auth/v1" if url else "")
        jwks_url = config.supabase_jwks_url or (f"{issuer}/.well-known/jwks.json" if issuer else "")
        if not issuer or not jwks_url:
            raise ValueError("SUPABASE_URL is required with AUTH_MODE=supabase")
        if config.supabase_confirms_email not in ("yes", "no"):
            raise ValueError("SUPABASE_CONFIRMS_EMAIL must be yes or no")
        _require_safe(jwks_url, production=config.environment == "production")
        secret = config.supabase_jwt_secret
        if secret and len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"SUPABASE_JWT_SECRET must have {MIN_SECRET_BYTES} bytes or more")
        confirms = config.supabase_confirms_email == "yes"
        return cls(issuer, jwks_url, config.supabase_audience, secret, confirms)


def _require_safe(url: str, *, production: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"SUPABASE_JWKS_URL must be an https URL, not {url!r}")
    if production and parts.scheme != "https":
        raise ValueError("SUPABASE_JWKS_URL must be an https URL in production: its response decides who can sign in")


class Head(msgspec.Struct):
    """The fields of the JOSE header that are read."""

    alg: str
    kid: str | None = None
    crit: Any = None
    b64: Any = None


UnixTime = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Seconds since 1970, up to the year 9999."""


class Method(msgspec.Struct):
    """An entry of `amr`: method and time of an authentication."""

    method: str
    timestamp: UnixTime


class Claims(msgspec.Struct):
    """The claims of a Supabase token that are read. Users can write `user_metadata`, so it is ignored."""

    iss: str
    aud: str | list[str]
    sub: UUID
    session_id: UUID
    role: str
    exp: UnixTime
    iat: UnixTime = 0
    nbf: UnixTime = 0
    email: str | None = None
    is_anonymous: bool = False
    aal: Literal["aal1", "aal2"] = "aal1"
    amr: list[str | Method] = []
    app_metadata: dict[str, Any] = {}
    is_legacy: bool = False
    """Whether the legacy secret signed the token. `verify` sets it and ignores the claim of this name."""

    @property
    def authenticated_at(self) -> int | None:
        """Unix time of the newest authentication; None if the token has none."""
        methods = [method for method in self.amr if isinstance(method, Method)]
        return max((one.timestamp for one in methods if one.method not in _REFRESHED), default=None)

    @property
    def contradicts_itself(self) -> bool:
        """Whether an anonymous person has an address or a role. Supabase issues no such token."""
        return self.is_anonymous and bool(
            self.email or {"user_role", "brand_id"} & {name for name, value in self.app_metadata.items() if value}
        )


_head_of = msgspec.json.Decoder(Head)
_claims_of = msgspec.json.Decoder(Claims)


def head_of(token: str) -> Head:
    """Decode the header of a token. It selects the key to verify with and nothing else.

    Raises:
        Unauthenticated: the text is not a token.
    """
    text = token.partition(".")[0]
    try:
        head = _head_of.decode(base64url.decode(text))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _invalid() from None
    if head.crit is not None or head.b64 is not None:
        raise _invalid()
    return head


class Verifier:
    """Verify tokens with the project's keys."""

    def __init__(self, project: Project, keys: RemoteKeys) -> None:
        self._project = project
        self._keys = keys
        self._secret = OctKey.import_key(project.secret) if project.secret else None

    def verify(self, token: str) -> Claims:
        """Return the claims of a token after checking its signature, expiry, issuer, audience and role.

        Does not wait for the project's server.

        Raises:
            Unauthenticated: the token is not valid.
            Unavailable: its key is unknown, and the project's keys can't be fetched now.
        """
        head = head_of(token)
        key, algorithm = self._key(head)
        try:
            signed = jws.deserialize_compact(token, key, algorithms=[algorithm])
            claims = _claims_of.decode(signed.payload or b"")
        except (JoseError, msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            raise _invalid() from None
        self._require_ours(claims)
        claims.is_legacy = algorithm == "HS256"
        return claims

    def _key(self, head: Head) -> tuple[Key, str]:
        # The algorithm belongs to the key. A public key must never be used as an HMAC secret.
        if head.alg == "HS256":
            if self._secret is None:
                raise _invalid()
            return self._secret, "HS256"
        found = self._keys.find(head.kid)
        if found is None and self._keys.may_lack_new_keys:
            raise Unavailable("The keys of the sign-in service can't be fetched.", retry_after=5)
        if found is None and not self._keys.is_absent(head.kid):
            # The key may be new, and the set has been fetched too often to be fetched for it now.
            retry_after = math.ceil(self._keys.seconds_to_fetch())
            raise Unavailable("The keys of the sign-in service will be fetched again soon.", retry_after=retry_after)
        if found is None or found.algorithm != head.alg:
            raise _invalid()
        return found.key, found.algorithm

    def _require_ours(self, claims: Claims) -> None:
        now = time.time()
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss != self._project.issuer or self._project.audience not in audiences or claims.role != _ROLE:
            raise _invalid()
        if max(claims.iat, claims.nbf) > now + LEEWAY or claims.contradicts_itself:
            raise _invalid()
        if claims.exp <= now:
            raise TokenExpired


def _invalid() -> Unauthenticated:
    return Unauthenticated("The access token is not valid.")


def identity_of(claims: Claims, project: Project) -> Identity:
    """Return the identity of a verified token, and insert or update its user and session. Opens its own transaction.

    Raises:
        Unauthenticated: the session was ended, or the account deleted or suspended, here.
        Forbidden: the account can't be inserted: its address is in use, or its role does not exist.
    """
    found = _mirrored(claims, project)
    return context.of_claims(
        {
            "sub": str(claims.sub),
            "session_id": str(claims.session_id),
            "aud": project.audience,
            "role": claims.role,
            "exp": claims.exp,
            "aal": claims.aal,
            "amr": msgspec.to_builtins(claims.amr),
            "is_anonymous": found["is_anonymous"],
            "email": found["email"] or "",
            "app_metadata": {
                "user_role": found["user_role"],
                "brand_id": found["brand_id"] and str(found["brand_id"]),
            },
            **({"mfa_pending": True} if found["mfa_pending"] else {}),
        }
    )


def _mirrored(claims: Claims, project: Project) -> dict[str, Any]:
    metadata = claims.app_metadata
    with transaction(context.unauthenticated().on_credentials()):
        found = row(
            "SELECT email, is_anonymous, user_role, brand_id, mfa_pending"
            " FROM app.mirror_session(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                claims.session_id,
                claims.sub,
                _address(claims.email),
                project.confirms_emails,
                claims.is_anonymous,
                _text(metadata.get("user_role")),
                _uuid(metadata.get("brand_id")),
                claims.aal,
                claims.authenticated_at,
                claims.iat or None,
                timedelta(days=settings.session_idle_days),
                accounts.request_origin(),
            ),
        )
        if found is not None and found["user_role"] == context.SYSTEM_ADMIN and claims.is_legacy:
            raise LegacyToken  # rolls the transaction back: no user and no session is inserted
    if found is None:
        raise SessionEnded
    return found


def _address(text: str | None) -> str | None:
    # A user without a deliverable address may still act.
    try:
        return emails.normalise(text) if text else None
    except Invalid:
        return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise UnknownRole
    return value


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if value is not None else None
    except (ValueError, TypeError, AttributeError):
        raise UnknownRole from None
