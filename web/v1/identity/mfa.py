"""The second factor (MFA): an authenticator app that shows six-digit codes (TOTP), and recovery codes.

Enrol with `POST /api/v1/users/me/mfa` and confirm with a code of the app. From then on each sign-in needs a code:
send it to `POST /api/v1/auth/mfa/verify`. System admins must have a second factor, and members of brands that require
it.
"""

from typing import Annotated

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import Forbidden, Invalid, MfaRequired, TooMany
from models.identity import access_tokens, accounts, mfa
from models.identity.mfa import InvalidCode, Mandatory, NotEnrolled
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint
from web.http.fields import Code, RecoveryCode, UriText, exactly_one_of
from web.v1.identity.sign_in import ACCESS_TOKEN, ExpiresIn, PersonOut, SessionPerson, TokenType


class EnrolmentOut(msgspec.Struct):
    """Secret of a new authenticator. It is returned once, and has no effect until a code of it is confirmed."""

    secret: Annotated[
        str,
        Meta(
            description="The secret in base32, for people who type it into the authenticator app.",
            examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"],
        ),
    ]
    uri: Annotated[
        UriText,
        Meta(
            description="The secret with the account's name as an `otpauth` URI. Show it as a QR code: authenticator"
            " apps scan it.",
            examples=["otpauth://totp/Companon:ana%40brand.example?secret=JBSWY3DPEHPK3PXP&issuer=Companon"],
        ),
    ]


class AuthenticatorCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """A code of the authenticator."""

    code: Code


class MfaCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """A code of the authenticator or, if that is lost, a recovery code. Send exactly one of the two."""

    code: Annotated[
        Code | None, Meta(description="The code that the authenticator shows now; null with a recovery code.")
    ] = None
    recovery_code: Annotated[
        RecoveryCode | None, Meta(description="An unused recovery code; null with a code of the authenticator.")
    ] = None


ElevatedToken = Annotated[
    str,
    Meta(
        description="Access token of level `aal2`. It replaces the session's access token: send it from now on.",
        examples=[ACCESS_TOKEN],
    ),
]
NewRecoveryCodes = Annotated[
    list[str],
    Meta(
        description="Ten codes. Each one replaces a code of a lost authenticator once. Show them to the person to keep"
        " them on paper.",
        examples=[["K7QH-3MXP-W2RT", "9DVC-LB4N-Z6FJ"]],
    ),
]


class ElevatedSessionOut(msgspec.Struct):
    """The session after MFA. Its refresh token stays valid."""

    access_token: ElevatedToken
    user: SessionPerson
    token_type: TokenType = "bearer"
    expires_in: ExpiresIn = access_tokens.LIFETIME

    @classmethod
    def of(cls, elevated: mfa.ElevatedSession) -> "ElevatedSessionOut":
        """Build the response from a session that has completed MFA."""
        return cls(elevated.access_token, PersonOut.of(elevated.person))


class ConfirmedOut(msgspec.Struct):
    """The session after the enrolment, and recovery codes. The codes are returned once."""

    access_token: ElevatedToken
    user: SessionPerson
    recovery_codes: NewRecoveryCodes
    token_type: TokenType = "bearer"
    expires_in: ExpiresIn = access_tokens.LIFETIME


class RecoveryCodesOut(msgspec.Struct):
    """New recovery codes. They are returned once."""

    recovery_codes: NewRecoveryCodes


class MfaStatusOut(msgspec.Struct):
    """MFA of an account."""

    confirmed_at: Annotated[
        Instant | None, Meta(description="Time when the authenticator was confirmed; null without an authenticator.")
    ]
    recovery_codes_left: Annotated[
        int, Meta(description="Number of unused recovery codes: 0 to 10. At 0, create new ones.", examples=[10])
    ]
    required_from: Annotated[
        Instant | None,
        Meta(
            description="Time from which the role or the brand requires an authenticator, and sessions without MFA are"
            " refused; null if neither does."
        ),
    ]


class Authenticator:
    """`/api/v1/users/me/mfa`: the caller's authenticator."""

    @endpoint(
        operation_id="getMfa",
        credentials=True,
        own_sign_in=True,
        response=MfaStatusOut,
        permission="authenticated",
        before_mfa=True,
    )
    def on_get(self, req: Request, resp: Response) -> None:
        """Read whether the caller has an authenticator, and whether one is required.

        A client shows members without an authenticator the date in `required_from` and offers to enrol one.
        """
        resp.media = msgspec.convert(mfa.status(), MfaStatusOut, from_attributes=True)

    @endpoint(
        operation_id="enrolMfa",
        credentials=True,
        own_sign_in=True,
        response=EnrolmentOut,
        status=201,
        permission="authenticated",
        audit="mfa.enrol",
        recent=True,
        before_mfa=True,
        problems=(MfaRequired, Forbidden),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create an authenticator for the caller and return its secret.

        It has no effect until `POST /api/v1/users/me/mfa/confirm` gets a code of it; then it replaces any other one. A
        repeated request returns another secret, and the earlier unconfirmed one becomes invalid. An unconfirmed one is
        deleted after a day. Anonymous fans can't enrol: they have no password.
        """
        identity = req.context.identity
        audited(req, table="users", record_id=identity.user_id)
        email, _ = accounts.own_email_and_name()
        made = mfa.enrol(identity, email or "")
        resp.media = EnrolmentOut(made.secret, made.uri)

    @endpoint(
        operation_id="removeMfa",
        credentials=True,
        own_sign_in=True,
        status=204,
        permission="authenticated",
        audit="mfa.remove",
        recent=True,
        problems=(Mandatory, NotEnrolled),
    )
    def on_delete(self, req: Request, resp: Response) -> None:
        """Delete the caller's authenticator and recovery codes.

        The person is notified by mail. System admins, and members of a brand that requires MFA, can't delete theirs:
        they enrol another one, which replaces it.
        """
        audited(req, table="users", record_id=req.context.identity.user_id)
        mfa.remove()


class Confirmation:
    """`/api/v1/users/me/mfa/confirm`: confirm a new authenticator."""

    @endpoint(
        operation_id="confirmMfa",
        credentials=True,
        own_sign_in=True,
        body=AuthenticatorCodeIn,
        example={"code": "123456"},
        response=ConfirmedOut,
        permission="authenticated",
        audit="mfa.confirm",
        outward=True,
        before_mfa=True,
        problems=(InvalidCode, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm the authenticator of `POST /api/v1/users/me/mfa` with a code of it.

        From now on every sign-in of the account needs a code. The caller's other sessions end, and this one completes
        MFA: go on with `access_token`. Earlier recovery codes become invalid. The person is notified by mail. After
        five wrong codes within 15 minutes the response is 429.
        """
        audited(req, table="users", record_id=req.context.identity.user_id)
        elevated, codes = mfa.confirm(req.context.identity, req.context.body.code)
        resp.media = ConfirmedOut(elevated.access_token, PersonOut.of(elevated.person), codes)


class RecoveryCodes:
    """`/api/v1/users/me/mfa/recovery-codes`: recovery codes for a lost authenticator."""

    @endpoint(
        operation_id="renewRecoveryCodes",
        credentials=True,
        own_sign_in=True,
        response=RecoveryCodesOut,
        status=201,
        permission="authenticated",
        audit="mfa.recovery_codes",
        recent=True,
        problems=(NotEnrolled,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create new recovery codes for the caller.

        The old ones become invalid, and the person is notified by mail. A repeated request returns other codes: only
        those of the last response are valid.
        """
        audited(req, table="users", record_id=req.context.identity.user_id)
        resp.media = RecoveryCodesOut(mfa.replace_recovery_codes(req.context.identity))


class MfaVerification:
    """`/api/v1/auth/mfa/verify`: complete MFA in this session."""

    @endpoint(
        operation_id="verifyMfa",
        credentials=True,
        own_sign_in=True,
        body=MfaCodeIn,
        example={"code": "123456"},
        response=ElevatedSessionOut,
        permission="authenticated",
        counts="sign_ins",
        audit="session.verify",
        outward=True,
        before_mfa=True,
        problems=(InvalidCode, TooMany, Invalid),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Complete MFA in this session, after a sign-in whose response has `mfa_required: "verify"`.

        Returns an access token of level `aal2`, with which all other requests are allowed. The session also counts as
        recently authenticated for ten minutes. A code is valid once. After five wrong codes within 15 minutes the
        response is 429. The use of a recovery code is notified by mail.
        """
        asked: MfaCodeIn = req.context.body
        identity = req.context.identity
        audited(req, table="sessions", record_id=identity.session_id, after={"recovery": asked.code is None})
        if asked.code is not None and asked.recovery_code is None:
            resp.media = ElevatedSessionOut.of(mfa.verify(identity, asked.code))
        elif asked.recovery_code is not None and asked.code is None:
            resp.media = ElevatedSessionOut.of(mfa.recover(identity, asked.recovery_code))
        else:
            raise exactly_one_of("code", "recovery_code")


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/mfa/verify", MfaVerification()),
    ("/api/v1/users/me/mfa", Authenticator()),
    ("/api/v1/users/me/mfa/confirm", Confirmation()),
    ("/api/v1/users/me/mfa/recovery-codes", RecoveryCodes()),
]
