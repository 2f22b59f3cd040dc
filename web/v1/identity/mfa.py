"""The second factor: enrolling an authenticator, and showing its codes."""

from typing import Literal

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, TooMany
from models.identity import access_tokens, accounts, mfa
from models.identity.mfa import InvalidCode, Mandatory, NotEnrolled
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint
from web.http.fields import Code, RecoveryCode, exactly_one_of
from web.v1.identity.accounts import PersonOut


class EnrolmentOut(msgspec.Struct):
    """What goes into the authenticator app, as a text and as what a QR code of it says. Shown once."""

    secret: str
    uri: str


class AuthenticatorCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """What the authenticator shows."""

    code: Code


class MfaCodeIn(msgspec.Struct, forbid_unknown_fields=True):
    """What the authenticator shows or, if it is lost, one of the recovery codes."""

    code: Code | None = None
    recovery_code: RecoveryCode | None = None


class ElevatedSessionOut(msgspec.Struct):
    """The token that the session acts with from now on; it goes on with the refresh token that it has."""

    access_token: str
    user: PersonOut
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME

    @classmethod
    def of(cls, raised: mfa.ElevatedSession) -> "ElevatedSessionOut":
        """A session as its owner gets it."""
        return cls(raised.access_token, PersonOut.of(raised.person))


class ConfirmedOut(msgspec.Struct):
    """The session, and codes to keep for the day that the authenticator is lost. They are shown once."""

    access_token: str
    user: PersonOut
    recovery_codes: list[str]
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = access_tokens.LIFETIME


class RecoveryCodesOut(msgspec.Struct):
    """Codes to keep for the day that the authenticator is lost. They are shown once."""

    recovery_codes: list[str]


class MfaStatusOut(msgspec.Struct):
    """Since when there is an authenticator, if there is one, and how many recovery codes are left.

    `required_from`: from when on there has to be one, for the role or because the brand demands it.
    """

    confirmed_at: Instant | None
    recovery_codes_left: int
    required_from: Instant | None


class Authenticator:
    """`/api/v1/users/me/mfa`: one's own authenticator."""

    @endpoint(credentials=True, own_sign_in=True, response=MfaStatusOut, permission="authenticated", before_mfa=True)
    def on_get(self, req: Request, resp: Response) -> None:
        """See whether the caller has an authenticator, and whether there has to be one."""
        resp.media = msgspec.convert(mfa.status(), MfaStatusOut, from_attributes=True)

    @endpoint(
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
        """Get the secret of a new authenticator. It counts, instead of any other, once a code of it is confirmed."""
        identity = req.context.identity
        audited(req, table="users", record_id=identity.user_id)
        email, _ = accounts.own_email_and_name()
        made = mfa.enrol(identity, email or "")
        resp.media = EnrolmentOut(made.secret, made.uri)

    @endpoint(
        credentials=True,
        own_sign_in=True,
        status=204,
        permission="authenticated",
        audit="mfa.remove",
        recent=True,
        problems=(Mandatory, NotEnrolled),
    )
    def on_delete(self, req: Request, resp: Response) -> None:
        """Take the caller's authenticator and recovery codes away, unless the role or the brand asks for them."""
        audited(req, table="users", record_id=req.context.identity.user_id)
        mfa.remove()


class Confirmation:
    """`/api/v1/users/me/mfa/confirm`: show that the new authenticator works."""

    @endpoint(
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
        """Confirm the new authenticator. Other sessions end, and this one has then shown both factors."""
        audited(req, table="users", record_id=req.context.identity.user_id)
        raised, codes = mfa.confirm(req.context.identity, req.context.body.code)
        resp.media = ConfirmedOut(raised.access_token, PersonOut.of(raised.person), codes)


class RecoveryCodes:
    """`/api/v1/users/me/mfa/recovery-codes`: codes for the day that the authenticator is lost."""

    @endpoint(
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
        """Get new recovery codes. The old ones are worth nothing then."""
        audited(req, table="users", record_id=req.context.identity.user_id)
        resp.media = RecoveryCodesOut(mfa.replace_recovery_codes(req.context.identity))


class MfaVerification:
    """`/api/v1/auth/mfa/verify`: show the second factor."""

    @endpoint(
        credentials=True,
        own_sign_in=True,
        body=MfaCodeIn,
        response=ElevatedSessionOut,
        permission="authenticated",
        audit="session.verify",
        outward=True,
        before_mfa=True,
        problems=(InvalidCode, TooMany, Invalid),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Show the second factor. The token is that of a session that has shown both (`aal2`); a code is good once."""
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
