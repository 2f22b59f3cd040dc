"""Accounts: getting one, signing in, and one's own profile."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, UnsetType

from models.consents.consents import Tier, TierNotInNotice
from models.consents.notices import NoticeNotInForce, UnknownNotice
from models.core import emails
from models.core.context import unauthenticated
from models.core.database import transaction
from models.core.errors import PreconditionFailed
from models.core.signed_links import LinkInvalid
from models.identity import access_tokens, accounts, passwords, sessions, signups
from models.identity.sessions import InvalidCredentials
from models.identity.signups import AlreadyRegistered
from web.http.client_address import partition
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint, etag, require_match
from web.http.fields import Email, Locale, NewPassword, Password, Phone, Text200, Tiers, Timezone, Token


class SignupIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Sign-up request. Password, name and consents of the account come with `POST /api/v1/auth/verify`.

    A `password` is checked for strength, so that a form can say so at once, and is not stored. `locale` is the language
    of the mail and of the page that it links to.
    """

    email: Email
    password: NewPassword | None = None
    locale: Locale = "en"


class SignupOut(msgspec.Struct):
    """The same answer for every address."""

    status: Literal["verification_sent"] = "verification_sent"


NoticeId = Annotated[
    UUID, msgspec.Meta(description="The notice that was shown: `id` of `GET /api/v1/consent-notices/default`.")
]


class TokenIn(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a one-time link."""

    token: Token


class VerificationIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Choices of the mail's reader for the account. `notice_id` is needed with `consent_tiers`."""

    token: Token
    password: NewPassword
    name: Text200 | None = None
    locale: Locale = "en"
    consent_tiers: Tiers = []
    notice_id: NoticeId | None = None


class LoginIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants to sign in."""

    email: Email
    password: Password


class AnonymousIn(msgspec.Struct, forbid_unknown_fields=True):
    """What an app may say of a person who doesn't say anything."""

    locale: Locale = "en"


class PersonOut(msgspec.Struct):
    """Whoever has signed in."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    role: str
    brand_id: UUID | None
    is_anonymous: bool

    @classmethod
    def of(cls, person: sessions.Person) -> "PersonOut":
        """A person as they see themselves."""
        return msgspec.convert(person, cls, from_attributes=True)


MfaRequired = Annotated[
    sessions.MfaStep | None,
    msgspec.Meta(
        description="What the session owes before it may do anything else: `verify` a code of the authenticator, or"
        " `enrol` one, which System Admins have to have."
    ),
]


class SessionOut(msgspec.Struct):
    """A session; `expires_in` is in seconds. `POST /api/v1/auth/refresh` takes the refresh token, once."""

    access_token: str
    refresh_token: str
    user: PersonOut
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME
    mfa_required: MfaRequired = None

    @classmethod
    def of(cls, session: sessions.Session) -> "SessionOut":
        """A session as its owner gets it."""
        person = session.person
        return cls(session.access_token, session.refresh_token, PersonOut.of(person), mfa_required=person.mfa_required)


class VerifiedOut(msgspec.Struct):
    """The account exists, and its owner can sign in. `session` replaces the sessions of an anonymous fan."""

    status: Literal["verified"] = "verified"
    session: SessionOut | None = None


class KeySetOut(msgspec.Struct):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class ProfileIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a profile; what is left out stays. `consent_tiers` are all that shall be in force."""

    name: Text200 | UnsetType | None = UNSET
    locale: Locale | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    consent_tiers: Tiers | UnsetType = UNSET


class ProfileOut(msgspec.Struct):
    """A person's own profile; `consent_tiers` are in force for every brand."""

    id: UUID
    email: str | None
    name: str | None
    locale: str
    timezone: str
    phone: str | None
    role: str
    brand_id: UUID | None
    is_anonymous: bool
    consent_tiers: list[Tier]
    created_at: Instant

    @classmethod
    def of(cls, profile: accounts.Profile) -> "ProfileOut":
        """A profile as its owner sees it."""
        return msgspec.convert(profile, cls, from_attributes=True)


class Signup:
    """`/api/v1/auth/signup`: ask for an account."""

    @endpoint(
        credentials=True,
        own_sign_in=True,
        body=SignupIn,
        response=SignupOut,
        status=202,
        permission="optional",
        refused_as="account.signup",
        rate="30/minute; 300/hour",
        # With anonymous fans' tokens, for which it is the only one: a stadium signs up from one address.
        address_rate="300/minute",
        slow=True,
        chooses_password=True,
        outward=True,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign up. Mail the address a link that makes the account, or a notice that the account exists.

        There is one open sign-up for an address. A repetition mails its link again, up to five times an hour.
        """
        asked: SignupIn = req.context.body
        email = emails.normalise(asked.email)
        if asked.password is not None:
            passwords.require_good(asked.password, email)
        with transaction(unauthenticated().on_credentials()):
            signups.sign_up(email, asked.locale)
        resp.media = SignupOut()


class Verification:
    """`/api/v1/auth/verify`: follow the link of a sign-up."""

    @endpoint(
        credentials=True,
        own_sign_in=True,
        body=VerificationIn,
        response=VerifiedOut,
        permission="optional",
        refused_as="account.verify",
        rate="30/minute",
        address_rate="300/minute",
        slow=True,
        chooses_password=True,
        outward=True,
        problems=(LinkInvalid, AlreadyRegistered, NoticeNotInForce, TierNotInNotice, UnknownNotice),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Make the account of a sign-up, with the password, name and consents that the reader of the mail chooses.

        The link is good once, and for a day. With an anonymous fan's access token, that fan becomes the account and
        keeps scans and consents; all sessions of the fan end, and the answer has a new one.
        """
        asked: VerificationIn = req.context.body
        session = signups.verify(
            req.context.identity,
            asked.token,
            asked.password,
            name=asked.name,
            locale=asked.locale,
            consent_tiers=asked.consent_tiers,
            notice_id=asked.notice_id,
        )
        resp.media = VerifiedOut(session=SessionOut.of(session) if session else None)


class Login:
    """`/api/v1/auth/login`: sign in."""

    @endpoint(
        credentials=True,
        own_sign_in=True,
        body=LoginIn,
        response=SessionOut,
        permission="public",
        refused_as="session.start",
        rate="60/minute",
        slow=True,
        outward=True,
        problems=(InvalidCredentials,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign in. Which of address and password is wrong isn't said, nor whether the account exists."""
        asked: LoginIn = req.context.body
        network = partition(req.context.info.address)
        resp.media = SessionOut.of(sessions.sign_in(emails.normalise(asked.email), asked.password, network))


class Anonymous:
    """`/api/v1/auth/anonymous`: take part without an account."""

    # A stadium shares one address.
    @endpoint(
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
        """Begin a session for an anonymous fan. They stay anonymous until a sign-up is verified with its token."""
        resp.media = SessionOut.of(sessions.sign_in_anonymously(req.context.body.locale))


class Me:
    """`/api/v1/users/me`: one's own profile."""

    @endpoint(response=ProfileOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the caller's profile."""
        profile = accounts.own_profile()
        etag(resp, _version(profile))
        resp.media = ProfileOut.of(profile)

    @endpoint(
        body=ProfileIn,
        response=ProfileOut,
        permission="authenticated",
        audit="account.update",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response) -> None:
        """Change the caller's profile, and which consents are in force for every brand."""
        changes = {
            name: value for name, value in msgspec.structs.asdict(req.context.body).items() if value is not UNSET
        }
        before = accounts.get_own_profile_for_update()
        require_match(req, _version(before))
        after = accounts.update_own_profile(before, changes)
        was, now = before.protected(), after.protected()
        changed = [field for field in was if was[field] != now[field]]
        audited(
            req,
            table="users",
            record_id=after.id,
            before={field: was[field] for field in changed},
            after={field: now[field] for field in changed},
        )
        etag(resp, _version(after))
        resp.media = ProfileOut.of(after)


def _version(profile: accounts.Profile) -> str:
    return f"{profile.updated_at.isoformat()};{','.join(profile.consent_tiers)}"


class KeySet:
    """`/.well-known/jwks.json`: the keys that our access tokens are verified with (RFC 7517)."""

    @endpoint(own_sign_in=True, response=KeySetOut, permission="public", mode="async")
    async def on_get(self, req: Request, resp: Response) -> None:
        """Read the keys that verify access tokens. Every ten minutes, and when a token names a key that isn't there."""
        keys = access_tokens.public_keys()
        resp.set_header("Cache-Control", f"public, max-age={access_tokens.KEYS_MAX_AGE}")
        etag(resp, ",".join(key["kid"] for key in keys["keys"]))
        resp.media = keys


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/signup", Signup()),
    ("/api/v1/auth/verify", Verification()),
    ("/api/v1/auth/login", Login()),
    ("/api/v1/auth/anonymous", Anonymous()),
    ("/api/v1/users/me", Me()),
    ("/.well-known/jwks.json", KeySet()),
]
