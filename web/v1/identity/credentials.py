"""Passwords and email addresses: change them, and get access back by a mailed link.

A forgotten password is replaced by a link to the address. A new address is confirmed by a link to it, and the old
address can undo the change for a week.
"""

from typing import Annotated, Literal

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import Forbidden, TooMany
from models.core.signed_links import LinkInvalid
from models.identity import credentials
from models.identity.credentials import SamePassword
from models.identity.step_up import WrongPassword
from web.http.endpoint import audited, endpoint
from web.http.fields import LINK_TOKEN, Email, NewPassword, Password, Token


class TokenIn(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a one-time link."""

    token: Token


class ForgottenPasswordIn(msgspec.Struct, forbid_unknown_fields=True):
    """Request for a link for a new password."""

    email: Annotated[Email, Meta(description="Address of the account.")]


class EmailChangeIn(msgspec.Struct, forbid_unknown_fields=True):
    """Request for another address of the caller's account."""

    email: Annotated[Email, Meta(description="The new address.", examples=["ana.garcia@brand.example"])]


class SentOut(msgspec.Struct):
    """The response, equal for every address: it does not show whether the address has an account."""

    status: Annotated[
        Literal["mail_sent"], Meta(description="The request was accepted. It does not say that a mail was sent.")
    ] = "mail_sent"


class ResetIn(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the mailed link, and the new password."""

    token: Token
    password: NewPassword


class PasswordIn(msgspec.Struct, forbid_unknown_fields=True):
    """The present password and the new one."""

    password: Annotated[Password, Meta(description="The present password.")]
    new_password: NewPassword


class ChangedOut(msgspec.Struct):
    """The change was made."""

    status: Annotated[Literal["changed"], Meta(description="The change is in force.")] = "changed"


class ForgottenPassword:
    """`/api/v1/auth/password/forgot`: request a link for a new password."""

    @endpoint(
        operation_id="requestPasswordReset",
        credentials=True,
        own_sign_in=True,
        body=ForgottenPasswordIn,
        example={"email": "ana@brand.example"},
        response=SentOut,
        status=202,
        permission="public",
        idempotent=True,
        refused_as="password.forget",
        rate="30/minute; 300/hour",
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Request a mail with a link for a new password.

        Every address gets the same response, and the mail is sent only if the address has an account with a password.
        The link opens a page that calls `POST /api/v1/auth/password/reset`. It is valid for an hour. An address gets at
        most three of these mails an hour. System admins get none: an operator sets their password.
        """
        credentials.request_password_reset(req.context.body.email)
        resp.media = SentOut()


class PasswordReset:
    """`/api/v1/auth/password/reset`: set a new password with the link."""

    @endpoint(
        operation_id="resetPassword",
        credentials=True,
        own_sign_in=True,
        body=ResetIn,
        example={"token": LINK_TOKEN, "password": "paseo por el prado"},
        response=ChangedOut,
        permission="public",
        refused_as="password.reset",
        rate="30/minute",
        slow=True,
        chooses_password=True,
        outward=True,
        problems=(LinkInvalid,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Set a new password with the link of `POST /api/v1/auth/password/forgot`.

        The link is valid once, for an hour. All other access to the account ends: sessions, authenticator, recovery
        codes, API keys that the person created, and open invitations that the person sent. The person is notified by
        mail. Next, sign in with `POST /api/v1/auth/login`.
        """
        asked: ResetIn = req.context.body
        credentials.reset_password(req.context.identity, asked.token, asked.password)
        resp.media = ChangedOut()


class OwnPassword:
    """`/api/v1/users/me/password`: the caller's password."""

    @endpoint(
        operation_id="changePassword",
        credentials=True,
        own_sign_in=True,
        body=PasswordIn,
        example={"password": "chocolate con churros", "new_password": "paseo por el prado"},
        status=204,
        permission="authenticated",
        audit="password.change",
        slow=True,
        chooses_password=True,
        outward=True,
        problems=(WrongPassword, SamePassword, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Change the caller's password.

        The caller's other sessions end, this one stays, and the person is notified by mail. After ten wrong passwords
        within 15 minutes the response is 429. Who has forgotten the password uses `POST /api/v1/auth/password/forgot`.
        """
        asked: PasswordIn = req.context.body
        audited(req, table="users", record_id=req.context.identity.user_id)
        credentials.change_password(req.context.identity, asked.password, asked.new_password)


class OwnEmail:
    """`/api/v1/users/me/email`: the caller's email address."""

    @endpoint(
        operation_id="requestEmailChange",
        credentials=True,
        own_sign_in=True,
        body=EmailChangeIn,
        example={"email": "ana.garcia@brand.example"},
        response=SentOut,
        status=202,
        permission="authenticated",
        audit="email.ask",
        idempotent=True,
        recent=True,
        problems=(Forbidden,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Request another email address for the caller's account.

        The new address gets a mail with a link, valid for a day, that confirms the change by
        `POST /api/v1/auth/email/confirm`. Until then the account keeps its present address. If the new address has an
        account already, its owner gets a notice instead, and the response is the same. A later request replaces an
        unconfirmed one. An address and an account get at most three of these mails an hour.
        """
        identity = req.context.identity
        audited(req, table="users", record_id=identity.user_id)
        asked = credentials.request_email_change(identity, req.context.body.email)
        audited(req, table="users", record_id=identity.user_id, **asked)
        resp.media = SentOut()


class EmailConfirmation:
    """`/api/v1/auth/email/confirm`: confirm another email address."""

    @endpoint(
        operation_id="confirmEmailChange",
        credentials=True,
        own_sign_in=True,
        body=TokenIn,
        example={"token": LINK_TOKEN},
        response=ChangedOut,
        permission="public",
        refused_as="email.change",
        rate="60/minute",
        problems=(LinkInvalid,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm the new email address of an account with the link that was mailed to it.

        The link is valid once, for a day. The person signs in with the new address from then on; sessions stay. The old
        address gets a mail with a link that undoes the change by `POST /api/v1/auth/email/undo`.
        """
        credentials.confirm_email_change(req.context.body.token)
        resp.media = ChangedOut()


class EmailUndo:
    """`/api/v1/auth/email/undo`: restore the old email address."""

    @endpoint(
        operation_id="undoEmailChange",
        credentials=True,
        own_sign_in=True,
        body=TokenIn,
        example={"token": LINK_TOKEN},
        response=ChangedOut,
        permission="public",
        refused_as="email.undo",
        rate="60/minute",
        slow=True,
        outward=True,
        problems=(LinkInvalid,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Restore the old email address of an account with the link that was mailed to it.

        The link is valid once, for a week, and only until a fan becomes a member of a brand. All other access to the
        account ends: sessions, password, authenticator, recovery codes, API keys that the person created, and open
        invitations that the person sent. The old address gets a mail with a link for a new password.
        """
        credentials.undo_email_change(req.context.identity, req.context.body.token)
        resp.media = ChangedOut()


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/password/forgot", ForgottenPassword()),
    ("/api/v1/auth/password/reset", PasswordReset()),
    ("/api/v1/users/me/password", OwnPassword()),
    ("/api/v1/users/me/email", OwnEmail()),
    ("/api/v1/auth/email/confirm", EmailConfirmation()),
    ("/api/v1/auth/email/undo", EmailUndo()),
]
