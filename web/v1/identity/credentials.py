"""Changes of the password and of the email address."""

from typing import Literal

import msgspec
from falcon.asgi import Request, Response

from models.core import emails
from models.core.errors import TooMany
from models.core.signed_links import LinkInvalid
from models.identity import credentials
from models.identity.credentials import SamePassword
from models.identity.step_up import WrongPassword
from web.http.endpoint import audited, endpoint
from web.http.fields import Email, NewPassword, Password, Token


class TokenIn(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a one-time link."""

    token: Token


class AddressIn(msgspec.Struct, forbid_unknown_fields=True):
    """An email address."""

    email: Email


class SentOut(msgspec.Struct):
    """The response, equal for every address."""

    status: Literal["mail_sent"] = "mail_sent"


class ResetIn(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the link, and the new password."""

    token: Token
    password: NewPassword


class PasswordIn(msgspec.Struct, forbid_unknown_fields=True):
    """The present password and the new one."""

    password: Password
    new_password: NewPassword


class ChangedOut(msgspec.Struct):
    """The change was made."""

    status: Literal["changed"] = "changed"


class ForgottenPassword:
    """`/api/v1/auth/password/forgot`: request a link for a new password."""

    @endpoint(
        operation_id="requestPasswordReset",
        credentials=True,
        own_sign_in=True,
        body=AddressIn,
        response=SentOut,
        status=202,
        permission="public",
        refused_as="password.forget",
        rate="30/minute; 300/hour",
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Mail a link for a new password if an account has the address. Every address gets the same response."""
        credentials.request_password_reset(emails.normalise(req.context.body.email))
        resp.media = SentOut()


class PasswordReset:
    """`/api/v1/auth/password/reset`: set a new password with the link."""

    @endpoint(
        operation_id="resetPassword",
        credentials=True,
        own_sign_in=True,
        body=ResetIn,
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
        """Set a new password. The link is valid once and for an hour.

        Sessions, authenticator, recovery codes, API keys and open invitations of the account end, and the person is
        notified. The password of a System Admin can't be reset by mail.
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
        status=204,
        permission="authenticated",
        audit="password.change",
        slow=True,
        chooses_password=True,
        outward=True,
        problems=(WrongPassword, SamePassword, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Change the caller's password. The present one is required, and the caller's other sessions end."""
        asked: PasswordIn = req.context.body
        audited(req, table="users", record_id=req.context.identity.user_id)
        credentials.change_password(req.context.identity, asked.password, asked.new_password)


class OwnEmail:
    """`/api/v1/users/me/email`: the caller's email address."""

    @endpoint(
        operation_id="requestEmailChange",
        credentials=True,
        own_sign_in=True,
        body=AddressIn,
        response=SentOut,
        status=202,
        permission="authenticated",
        audit="email.ask",
        recent=True,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Request another email address. A link that is mailed to it confirms the change.

        If the address has an account, a notice is mailed instead. After the change, the old address gets a mail with a
        link that undoes it, valid for a week.
        """
        identity = req.context.identity
        audited(req, table="users", record_id=identity.user_id)
        asked = credentials.request_email_change(identity, emails.normalise(req.context.body.email))
        audited(req, table="users", record_id=identity.user_id, **asked)
        resp.media = SentOut()


class EmailConfirmation:
    """`/api/v1/auth/email/confirm`: confirm another email address."""

    @endpoint(
        operation_id="confirmEmailChange",
        credentials=True,
        own_sign_in=True,
        body=TokenIn,
        response=ChangedOut,
        permission="public",
        refused_as="email.change",
        rate="60/minute",
        problems=(LinkInvalid,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm another email address of an account. The link is valid once and for a day."""
        credentials.confirm_email_change(req.context.body.token)
        resp.media = ChangedOut()


class EmailUndo:
    """`/api/v1/auth/email/undo`: restore the old email address."""

    @endpoint(
        operation_id="undoEmailChange",
        credentials=True,
        own_sign_in=True,
        body=TokenIn,
        response=ChangedOut,
        permission="public",
        refused_as="email.undo",
        rate="60/minute",
        slow=True,
        outward=True,
        problems=(LinkInvalid,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Undo a change of the email address. The link is valid once, for a week, until a fan becomes a member.

        The account's sessions end, its password is replaced, and a link for a new one is mailed to the old address.
        Authenticator, recovery codes, API keys and open invitations of the account end.
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
