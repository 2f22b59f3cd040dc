"""Signing in by a Supabase project: its access tokens, and the people and sessions that they speak of as rows of ours.

A token proves who somebody is, and which session it belongs to. What they may do is ours to say: the role and the brand
are those of `users`, where a person's first token puts them, and no later one changes them.
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
"""Seconds that Supabase's clock may be ahead of ours."""
MIN_SECRET_BYTES = 32
_ROLE = "authenticated"
_REFRESHED = ("token_refresh", "anonymous")
"""Methods in `amr` that show nothing about the person."""


class UnknownRole(Forbidden):
    """`app_metadata` names a role, or a brand, that there is none of."""

    code = "unknown_role"


class LegacyToken(Forbidden):
    """A System Admin's token that the legacy secret has signed. The holder of that secret can act as any person."""

    code = "legacy_token"


@dataclass(frozen=True, slots=True)
class Project:
    """A Supabase project, as far as its tokens go."""

    issuer: str
    jwks_url: str
    audience: str
    secret: str
    confirms_emails: bool

    @classmethod
    def of(cls, config: Settings) -> "Project":
        """As the settings describe it.

        Raises:
            ValueError: they don't, or it isn't safe; names the setting.
        """
        url = config.supabase_url.rstrip("/")
        issuer = config.supabase_issuer or (f"{url}/auth/v1" if url else "")
        jwks_url = config.supabase_jwks_url or (f"{issuer}/.well-known/jwks.json" if issuer else "")
        if not issuer or not jwks_url:
            raise ValueError("SUPABASE_URL is needed with AUTH_MODE=supabase")
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
        raise ValueError("SUPABASE_JWKS_URL must be an https URL in production: whoever can change it can sign in")


class Head(msgspec.Struct):
    """The JOSE header, as far as we look at it."""

    alg: str
    kid: str | None = None
    crit: Any = None
    b64: Any = None


UnixTime = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Seconds since 1970, up to the year 9999."""


class Method(msgspec.Struct):
    """An entry of `amr`: how the person showed who they are, and when."""

    method: str
    timestamp: UnixTime


class Claims(msgspec.Struct):
    """What we take from a token of Supabase's. `user_metadata` is its owner's to write, and so not among it."""

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
    """Whether the legacy secret has signed it. `verify` sets it, whatever the token says."""

    @property
    def authenticated_at(self) -> int | None:
        """When the person last showed who they are (Unix time); None if that isn't said."""
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
    """What a token says of itself, which decides nothing but the key that it is held against.

    Raises:
        Unauthenticated: it is no token.
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
    """Holds tokens against the project's keys."""

    def __init__(self, project: Project, keys: RemoteKeys) -> None:
        self._project = project
        self._keys = keys
        self._secret = OctKey.import_key(project.secret) if project.secret else None

    def verify(self, token: str) -> Claims:
        """The claims of a token that the project signed for a person's session and that has not expired.

        Never waits for the project's server.

        Raises:
            Unauthenticated: it is no such token.
            Unavailable: its key isn't known, and the project's keys can't be had.
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
        """The key, and the only algorithm that it may be used with. A public key is never taken for a secret."""
        if head.alg == "HS256":
            if self._secret is None:
                raise _invalid()
            return self._secret, "HS256"
        found = self._keys.find(head.kid)
        if found is None and self._keys.is_uncertain:
            raise Unavailable("The keys of the sign-in service can't be had.", retry_after=5)
        if found is None and not self._keys.is_absent(head.kid):
            # The key may be new, and the set has been fetched too often to be fetched for it now.
            retry_after = math.ceil(self._keys.seconds_to_fetch())
            raise Unavailable("The keys of the sign-in service are fetched again soon.", retry_after=retry_after)
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
    """Whoever a verified token speaks of, as somebody of ours. Their first token makes them; opens its transaction.

    Raises:
        Unauthenticated: the session, or the account, has been ended here.
        Forbidden: the account can't be one of ours: its address is another's, its role unknown.
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
            raise LegacyToken  # within the transaction: the token makes no admin, and no session of one
    if found is None:
        raise SessionEnded
    return found


def _address(text: str | None) -> str | None:
    """None also for what no mail can be sent to: its owner may act all the same."""
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
