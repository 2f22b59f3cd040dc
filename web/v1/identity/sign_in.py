"""Sign-in with a password or as an anonymous fan, and the public keys of access tokens."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core import emails
from models.identity import access_tokens, sessions
from models.identity.sessions import InvalidCredentials
from web.http.client_address import partition
from web.http.endpoint import endpoint, etag
from web.http.fields import Email, Locale, Password


class LoginIn(msgspec.Struct, forbid_unknown_fields=True):
    """Address and password of an account."""

    email: Email
    password: Password


class AnonymousIn(msgspec.Struct, forbid_unknown_fields=True):
    """Language of an anonymous fan."""

    locale: Locale = "en"


class PersonOut(msgspec.Struct):
    """The person of a session."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    role: str
    brand_id: UUID | None
    is_anonymous: bool

    @classmethod
    def of(cls, person: sessions.Person) -> "PersonOut":
        """Build the response from the person of a session."""
        return msgspec.convert(person, cls, from_attributes=True)


MfaRequired = Annotated[
    sessions.MfaStep | None,
    msgspec.Meta(
        description="Step that the session must do before any other request: `verify` a code of the authenticator, or"
        " `enrol` one, if the role or the brand requires it."
    ),
]


class SessionOut(msgspec.Struct):
    """A session; `expires_in` is in seconds. `POST /api/v1/auth/refresh` accepts the refresh token once."""

    access_token: str
    refresh_token: str
    user: PersonOut
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME
    mfa_required: MfaRequired = None

    @classmethod
    def of(cls, session: sessions.Session) -> "SessionOut":
        """Build the response from a session and its tokens."""
        person = session.person
        return cls(session.access_token, session.refresh_token, PersonOut.of(person), mfa_required=person.mfa_required)


class KeySetOut(msgspec.Struct):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class Login:
    """`/api/v1/auth/login`: sign in with a password."""

    @endpoint(
        operation_id="logIn",
        credentials=True,
        own_sign_in=True,
        body=LoginIn,
        response=SessionOut,
        permission="public",
        counts="sign_ins",
        refused_as="session.start",
        rate="60/minute",
        slow=True,
        outward=True,
        problems=(InvalidCredentials,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign in. An address without an account and a wrong password get the same response."""
        asked: LoginIn = req.context.body
        network = partition(req.context.info.address)
        resp.media = SessionOut.of(sessions.sign_in(emails.normalise(asked.email), asked.password, network))


class Anonymous:
    """`/api/v1/auth/anonymous`: take part without an account."""

    # All fans in a stadium may share one address.
    @endpoint(
        operation_id="startAnonymousSession",
        credentials=True,
        own_sign_in=True,
        body=AnonymousIn,
        response=SessionOut,
        status=201,
        permission="public",
        refused_as="session.start",
        rate="3000/minute",
        total_rate="60000/minute",
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Begin a session for an anonymous fan. A verified sign-up with its token turns the fan into an account."""
        resp.media = SessionOut.of(sessions.sign_in_anonymously(req.context.body.locale))


class KeySet:
    """`/.well-known/jwks.json`: the public keys of our access tokens (RFC 7517)."""

    @endpoint(own_sign_in=True, response=KeySetOut, permission="public", mode="async")
    async def on_get(self, req: Request, resp: Response) -> None:
        """Read the keys that verify access tokens. Fetch them every ten minutes, and for each unknown key."""
        keys = access_tokens.public_keys()
        resp.set_header("Cache-Control", f"public, max-age={access_tokens.KEYS_MAX_AGE}")
        etag(resp, ",".join(key["kid"] for key in keys["keys"]))
        resp.media = keys


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/login", Login()),
    ("/api/v1/auth/anonymous", Anonymous()),
    ("/.well-known/jwks.json", KeySet()),
]
