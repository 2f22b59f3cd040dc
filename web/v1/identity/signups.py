"""Sign-up: from an email address to an account.

`POST /api/v1/auth/signup` mails a link to the address. The page of the link shows the consent notice, asks for
password and name, and calls `POST /api/v1/auth/verify`, which creates the account. A fan who took part without an
account keeps scans and consents if that call carries the fan's access token.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.consents.consents import TierNotInNotice
from models.consents.notices import NoticeNotInForce, UnknownNotice
from models.core.context import unauthenticated
from models.core.database import transaction
from models.core.signed_links import LinkInvalid
from models.identity import passwords, signups
from models.identity.signups import AlreadyRegistered
from web.http.endpoint import endpoint
from web.http.fields import LINK_TOKEN, Email, Locale, NewPassword, Text200, Tiers, Token
from web.http.locales import chosen
from web.v1.identity.sign_in import SessionOut


class SignupIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Sign-up request. Password, name and consents of the account come with `POST /api/v1/auth/verify`."""

    email: Annotated[Email, Meta(description="Address of the new account.")]
    password: Annotated[
        NewPassword | None,
        Meta(
            description="Checked for strength only, so that a form can report a weak password at once. It is not"
            " stored: send it again with `POST /api/v1/auth/verify`.",
        ),
    ] = None
    locale: Annotated[
        Locale | UnsetType,
        Meta(
            description="Language of the mail and of the page that it links to, a language tag (BCP 47). Default: the"
            " first language of `Accept-Language`, else `en`.",
            examples=["es-MX"],
        ),
    ] = UNSET


class SignupOut(msgspec.Struct):
    """The response, equal for every address: it does not show whether the address has an account."""

    status: Annotated[
        Literal["verification_sent"], Meta(description="The address gets a mail, unless it got too many before.")
    ] = "verification_sent"


class VerificationIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Password, name, language and consents of the new account."""

    token: Token
    password: NewPassword
    name: Annotated[
        Text200 | None, Meta(description="Name of the person, if it is known.", examples=["Ana García"])
    ] = None
    locale: Annotated[
        Locale | UnsetType,
        Meta(
            description="Language of the account, a language tag (BCP 47). Default: the first language of"
            " `Accept-Language`, else `en`. An anonymous fan who becomes the account keeps the present one.",
            examples=["es-MX"],
        ),
    ] = UNSET
    consent_tiers: Annotated[
        Tiers,
        Meta(
            description="Consents for every brand that the person gives. Default: none.",
            examples=[["essential", "analytics"]],
        ),
    ] = []
    notice_id: Annotated[
        UUID | None,
        Meta(
            description="The notice that the person has read: `id` of `GET /api/v1/consent-notices/default`. Required"
            " with `consent_tiers`.",
            examples=["0197a000-0000-7000-8000-000000000001"],
        ),
    ] = None


class VerifiedOut(msgspec.Struct):
    """The account was created, and its owner can sign in."""

    status: Annotated[Literal["verified"], Meta(description="The account exists.")] = "verified"
    session: Annotated[
        SessionOut | None,
        Meta(
            description="The session that replaces all sessions of an anonymous fan who became the account. Null"
            " without an anonymous fan: sign in with `POST /api/v1/auth/login`."
        ),
    ] = None


class Signup:
    """`/api/v1/auth/signup`: request an account."""

    @endpoint(
        operation_id="signUp",
        credentials=True,
        own_sign_in=True,
        body=SignupIn,
        example={"email": "ana@brand.example", "password": "paseo por el prado", "locale": "es-MX"},
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
        """Request an account. The address gets a mail with a link that creates it.

        The link opens a page that calls `POST /api/v1/auth/verify`. It is valid for a day. If the address has an
        account already, its owner gets a notice instead, and the response is the same. An address has one open sign-up:
        a repeated request mails the same link again, at most five times an hour.
        """
        asked: SignupIn = req.context.body
        if asked.password is not None:
            passwords.require_good(asked.password, asked.email)
        with transaction(unauthenticated().on_credentials()):
            signups.sign_up(asked.email, chosen(asked.locale, req))
        resp.media = SignupOut()


class Verification:
    """`/api/v1/auth/verify`: create the account of a sign-up."""

    @endpoint(
        operation_id="verifyEmail",
        credentials=True,
        own_sign_in=True,
        body=VerificationIn,
        example={
            "token": LINK_TOKEN,
            "password": "paseo por el prado",
            "name": "Ana García",
            "locale": "es-MX",
            "consent_tiers": ["essential", "analytics"],
            "notice_id": "0197a000-0000-7000-8000-000000000001",
        },
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
        """Create the account of a sign-up with the token of the mailed link.

        The link is valid once, for a day. With the access token of an anonymous fan, the fan becomes the account and
        keeps scans and consents: all sessions of the fan end, and `session` has a new one. Without it, the account
        is a new person; next, sign in with `POST /api/v1/auth/login`. `consent_tiers` are recorded for `notice_id`.
        """
        asked: VerificationIn = req.context.body
        session = signups.verify(
            req.context.identity,
            asked.token,
            asked.password,
            name=asked.name,
            locale=chosen(asked.locale, req),
            consent_tiers=asked.consent_tiers,
            notice_id=asked.notice_id,
        )
        resp.media = VerifiedOut(session=SessionOut.of(session) if session else None)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/signup", Signup()),
    ("/api/v1/auth/verify", Verification()),
]
