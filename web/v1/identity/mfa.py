"""MFA: enrolment of an authenticator, and verification of its codes."""

from typing import Literal

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, TooMany
from models.identity import access_tokens, accounts, mfa
from models.identity.mfa import InvalidCode, Mandatory, NotEnrolled
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint
from web.http.fields import Code, RecoveryCode, exactly_one_of
from web.v1.identity.sign_in import PersonOut


class EnrolmentOut(msgspec.Struct):
    """Secret of the authenticator app, as text and as URI of a QR code. It is returned once."""

    secret: str
    uri: str


class AuthenticatorCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """A code of the authenticator."""

    code: Code


class MfaCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """A code of the authenticator or, if that is lost, a recovery code."""

    code: Code | None = None
    recovery_code: RecoveryCode | None = None


class ElevatedSessionOut(msgspec.Struct):
    """The new access token of the session. Its refresh token stays valid."""

    access_token: str
    user: PersonOut
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME

    @classmethod
    def of(cls, elevated: mfa.ElevatedSession) -> "ElevatedSessionOut":
        """Build the response from a session that has completed MFA."""
        return cls(elevated.access_token, PersonOut.of(elevated.person))


class ConfirmedOut(msgspec.Struct):
    """The session, and recovery codes for a lost authenticator. They are returned once."""

    access_token: str
    user: PersonOut
    recovery_codes: list[str]
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME


class RecoveryCodesOut(msgspec.Struct):
    """Recovery codes for a lost authenticator. They are returned once."""

    recovery_codes: list[str]


class MfaStatusOut(msgspec.Struct):
    """MFA of an account.

    `confirmed_at`: time when the authenticator was confirmed; null without one. `required_from`: time from which the
    role or the brand requires one; null if it does not.
    """

    confirmed_at: Instant | None
    recovery_codes_left: int
    required_from: Instant | None


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
        """Read whether the caller has an authenticator, and whether one is required."""
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
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create an authenticator and return its secret. It replaces any other once a code of it is confirmed."""
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
        """Delete the caller's authenticator and recovery codes, unless the role or the brand requires them."""
        audited(req, table="users", record_id=req.context.identity.user_id)
        mfa.remove()


class Confirmation:
    """`/api/v1/users/me/mfa/confirm`: confirm a new authenticator."""

    @endpoint(
        operation_id="confirmMfa",
        credentials=True,
        own_sign_in=True,
        body=AuthenticatorCodeIn,
        response=ConfirmedOut,
        permission="authenticated",
        audit="mfa.confirm",
        outward=True,
        before_mfa=True,
        problems=(InvalidCode, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm the new authenticator with a code. The caller's other sessions end, and this one completes MFA."""
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
        """Create new recovery codes. The old ones become invalid."""
        audited(req, table="users", record_id=req.context.identity.user_id)
        resp.media = RecoveryCodesOut(mfa.replace_recovery_codes(req.context.identity))


class MfaVerification:
    """`/api/v1/auth/mfa/verify`: complete MFA in this session."""

    @endpoint(
        operation_id="verifyMfa",
        credentials=True,
        own_sign_in=True,
        body=MfaCodeIn,
        response=ElevatedSessionOut,
        permission="authenticated",
        counts="sign_ins",
        audit="session.verify",
        outward=True,
        before_mfa=True,
        problems=(InvalidCode, TooMany, Invalid),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Verify a code and get an access token of level `aal2`. A code is valid once."""
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
