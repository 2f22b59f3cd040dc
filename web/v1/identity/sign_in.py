"""Sign-in with a password, or as a fan without an account, and the public keys of access tokens.

Both return a session: an access token for an hour, and a refresh token for the next one. If `mfa_required` is not
null, the session must do that step first.
"""

from typing import Annotated, Literal

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.core.errors import TooMany
from models.identity import access_tokens, sessions
from models.identity.sessions import InvalidCredentials
from web.http.client_address import partition
from web.http.endpoint import endpoint, etag
from web.http.fields import Email, Locale, Password, UserId
from web.http.locales import chosen
from web.http.person_fields import (
    IsAnonymous,
    MemberBrandId,
    MfaStep,
    PersonEmail,
    PersonLocale,
    PersonName,
    PersonRole,
)

ACCESS_TOKEN = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjIwMjYtMTEifQ.eyJzdWIiOiIwMTk0MWYyOCJ9.MEUCIQDxample"
"""The access token in the document's examples; no key has signed it."""

TokenType = Annotated[
    Literal["bearer"], Meta(description="How to send the access token: `Authorization: Bearer <access_token>`.")
]
ExpiresIn = Annotated[
    int, Meta(description="Seconds until the access token expires, counted from the response.", examples=[3600])
]


class LoginIn(msgspec.Struct, forbid_unknown_fields=True):
    """Address and password of an account."""

    email: Annotated[Email, Meta(description="Address of the account, in upper or lower case.")]
    password: Annotated[Password, Meta(description="Password of the account.")]


class AnonymousIn(msgspec.Struct, forbid_unknown_fields=True):
    """The fan's language. The body may be `{}`."""

    locale: Annotated[
        Locale | UnsetType,
        Meta(
            description="Language of the fan, a language tag (BCP 47). Default: the first language of"
            " `Accept-Language`, else `en`.",
            examples=["es-MX"],
        ),
    ] = UNSET


class PersonOut(msgspec.Struct):
    """The person of a session."""

    id: UserId
    email: PersonEmail
    name: PersonName
    locale: PersonLocale
    role: PersonRole
    brand_id: MemberBrandId
    is_anonymous: IsAnonymous

    @classmethod
    def of(cls, person: sessions.Person) -> "PersonOut":
        """Build the response from the person of a session."""
        return msgspec.convert(person, cls, from_attributes=True)


SessionPerson = Annotated[PersonOut, Meta(description="The person who signed in.")]


class SessionOut(msgspec.Struct):
    """A session: an access token for requests, and a refresh token for the next access token."""

    access_token: Annotated[
        str,
        Meta(description="A JWT. Send it as `Authorization: Bearer <access_token>`.", examples=[ACCESS_TOKEN]),
    ]
    refresh_token: Annotated[
        str,
        Meta(
            description="Send it to `POST /api/v1/auth/refresh` before the access token expires. It is valid once, and"
            " expires with the session: after 30 days without a refresh, or 90 days after the sign-in.",
            examples=["dGhlIHJlZnJlc2ggdG9rZW4gb2YgdGhlIHNlc3Npb24"],
        ),
    ]
    user: SessionPerson
    token_type: TokenType = "bearer"
    expires_in: ExpiresIn = access_tokens.LIFETIME
    mfa_required: Annotated[
        MfaStep | None,
        Meta(description="Step that the session must complete before any other request; null if there is none."),
    ] = None

    @classmethod
    def of(cls, session: sessions.Session) -> "SessionOut":
        """Build the response from a session and its tokens."""
        person = session.person
        return cls(session.access_token, session.refresh_token, PersonOut.of(person), mfa_required=person.mfa_required)


class PublicKeyOut(msgspec.Struct):
    """A public key of the curve P-256 (RFC 7518, section 6.2)."""

    kty: Annotated[Literal["EC"], Meta(description="Type of the key.")]
    crv: Annotated[Literal["P-256"], Meta(description="Curve of the key.")]
    x: Annotated[
        str,
        Meta(description="The x coordinate in base64url.", examples=["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"]),
    ]
    y: Annotated[
        str,
        Meta(description="The y coordinate in base64url.", examples=["x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"]),
    ]
    kid: Annotated[str, Meta(description="Id of the key, as in the header of tokens.", examples=["2026-11"])]
    use: Annotated[Literal["sig"], Meta(description="The key verifies signatures.")]
    alg: Annotated[Literal["ES256"], Meta(description="The only algorithm that the key is valid for.")]


class KeySetOut(msgspec.Struct):
    """A JWK set (RFC 7517)."""

    keys: Annotated[
        list[PublicKeyOut],
        Meta(description="The keys that may have signed a valid access token; its header `kid` names one of them."),
    ]


class Login:
    """`/api/v1/auth/login`: sign in with a password."""

    @endpoint(
        operation_id="logIn",
        credentials=True,
        own_sign_in=True,
        body=LoginIn,
        example={"email": "ana@brand.example", "password": "chocolate con churros"},
        response=SessionOut,
        permission="public",
        counts="sign_ins",
        refused_as="session.start",
        rate="60/minute",
        slow=True,
        outward=True,
        problems=(InvalidCredentials, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign in with address and password.

        If `mfa_required` is not null, do that step next: everything else is refused until then (403 `mfa_required`). An
        address without an account and a wrong password get the same response. After ten failed sign-ins to an account
        from one network within 15 minutes the response is 429.
        """
        asked: LoginIn = req.context.body
        network = partition(req.context.info.address)
        resp.media = SessionOut.of(sessions.sign_in(asked.email, asked.password, network))


class Anonymous:
    """`/api/v1/auth/anonymous`: take part without an account."""

    # High rates: all fans in a stadium may share one address.
    @endpoint(
        operation_id="startAnonymousSession",
        credentials=True,
        own_sign_in=True,
        body=AnonymousIn,
        example={"locale": "es-MX"},
        response=SessionOut,
        status=201,
        permission="public",
        refused_as="session.start",
        rate="3000/minute",
        total_rate="60000/minute",
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Begin a session for a fan without an account.

        The fan can consent and scan at once. To keep scans and consents in an account, send the fan's access token with
        `POST /api/v1/auth/verify`. A repeated request creates another fan: keep the session on the device.
        """
        resp.media = SessionOut.of(sessions.sign_in_anonymously(chosen(req.context.body.locale, req)))


class KeySet:
    """`/.well-known/jwks.json`: the public keys of our access tokens (RFC 7517)."""

    @endpoint(own_sign_in=True, response=KeySetOut, permission="public", mode="async")
    async def on_get(self, req: Request, resp: Response) -> None:
        """Read the public keys that verify access tokens.

        For services that verify our tokens by themselves. Fetch the keys every ten minutes, and for each token with an
        unknown `kid`.
        """
        keys = access_tokens.public_keys()
        resp.set_header("Cache-Control", f"public, max-age={access_tokens.KEYS_MAX_AGE}")
        etag(resp, ",".join(key["kid"] for key in keys["keys"]))
        resp.media = keys


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/login", Login()),
    ("/api/v1/auth/anonymous", Anonymous()),
    ("/.well-known/jwks.json", KeySet()),
]
