"""Sign-up for an account, and its verification by the link in the mail."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.consents.consents import TierNotInNotice
from models.consents.notices import NoticeNotInForce, UnknownNotice
from models.core import emails
from models.core.context import unauthenticated
from models.core.database import transaction
from models.core.signed_links import LinkInvalid
from models.identity import passwords, signups
from models.identity.signups import AlreadyRegistered
from web.http.endpoint import endpoint
from web.http.fields import Email, Locale, NewPassword, Text200, Tiers, Token
from web.v1.identity.sign_in import SessionOut


class SignupIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Sign-up request. Password, name and consents of the account come with `POST /api/v1/auth/verify`.

    A `password` is checked for strength, so that a form can report a weak one at once, and is not stored. `locale` is
    the language of the mail and of the page that it links to.
    """

    email: Email
    password: NewPassword | None = None
    locale: Locale = "en"


class SignupOut(msgspec.Struct):
    """The response, equal for every address."""

    status: Literal["verification_sent"] = "verification_sent"


NoticeId = Annotated[
    UUID, msgspec.Meta(description="The displayed notice: `id` of `GET /api/v1/consent-notices/default`.")
]


class VerificationIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Password, name, language and consents of the account. `notice_id` is required with `consent_tiers`."""

    token: Token
    password: NewPassword
    name: Text200 | None = None
    locale: Locale = "en"
    consent_tiers: Tiers = []
    notice_id: NoticeId | None = None


class VerifiedOut(msgspec.Struct):
    """The account was created, and its owner can sign in. `session` replaces the sessions of an anonymous fan."""

    status: Literal["verified"] = "verified"
    session: SessionOut | None = None


class Signup:
    """`/api/v1/auth/signup`: request an account."""

    @endpoint(
        operation_id="signUp",
        credentials=True,
        own_sign_in=True,
        body=SignupIn,
        response=SignupOut,
        status=202,
        permission="optional",
        refused_as="account.signup",
        rate="30/minute; 300/hour",
        # The only limit for requests with tokens of anonymous fans: all fans in a stadium may share one address.
        address_rate="300/minute",
        slow=True,
        chooses_password=True,
        outward=True,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign up. Mail the address a link that creates the account, or a notice that the account exists.

        An address has one open sign-up. A repetition mails its link again, up to five times an hour.
        """
        asked: SignupIn = req.context.body
        email = emails.normalise(asked.email)
        if asked.password is not None:
            passwords.require_good(asked.password, email)
        with transaction(unauthenticated().on_credentials()):
            signups.sign_up(email, asked.locale)
        resp.media = SignupOut()


class Verification:
    """`/api/v1/auth/verify`: create the account of a sign-up."""

    @endpoint(
        operation_id="verifyEmail",
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
        """Create the account of a sign-up with the password, name and consents that the reader of the mail chooses.

        The link is valid once and for a day. With an anonymous fan's access token, the fan becomes the account and
        keeps scans and consents. All sessions of the fan end, and the response has a new one.
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


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/signup", Signup()),
    ("/api/v1/auth/verify", Verification()),
]
