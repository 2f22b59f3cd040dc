"""The pages that mails link to: one form each, which sends the link's token once and says what came of it."""

from dataclasses import dataclass
from html import escape
from string import Template

PASSWORD = '<input name="password" type="password" autocomplete="new-password" required minlength="10" maxlength="128">'
NAME = '<input name="name" autocomplete="name" required maxlength="200">'


@dataclass(frozen=True, slots=True)
class MailPage:
    """One of them.

    Attributes:
        title: of the page.
        text: what it is about.
        to: the endpoint that takes the token.
        button: what the form's button says.
        done: what is said when it has worked.
        fields: label → input, of the form.
        sign_in: what to do first, where the endpoint asks for a session. The page gets it as Supabase hands one over:
            `#access_token=…` behind the address that signing in leads back to.
    """

    title: str
    text: str
    to: str
    button: str
    done: str
    fields: tuple[tuple[str, str], ...] = ()
    sign_in: str = ""

    def render(self, template: str) -> bytes:
        """The page, as HTML."""
        labels = (f"<label>{escape(label)} {field}</label>\n" for label, field in self.fields)
        words = {name: escape(getattr(self, name)) for name in ("title", "text", "to", "button", "done", "sign_in")}
        return Template(template).substitute(words, fields="".join(labels)).encode()


_ACCEPT = "Accept your invitation"

ELSEWHERE = MailPage(
    title=_ACCEPT,
    text="You accept it with the account that you sign in with, if that has the address to which the invitation went.",
    to="/api/v1/users/me/invitation",
    button="Accept",
    done="Welcome. You work for the brand now: go back to the app, and sign in again or reload it.",
    sign_in="Sign in to the app first, or sign up there, with the address to which the invitation went. If you are new,"
    " you may be a member of the brand at once. If you aren't, open the link of the invitation from the app.",
)
"""Accepting an invitation where a Supabase project signs people in."""

PAGES = {
    "verify-email": MailPage(
        title="Confirm your e-mail address",
        text="One click, and we know that it is yours.",
        to="/api/v1/auth/verify",
        button="Confirm",
        done="Thank you. Your address is confirmed; you can close this page.",
    ),
    "accept-invitation": MailPage(
        title=_ACCEPT,
        text="Choose a name and a password for your account.",
        to="/api/v1/auth/accept-invitation",
        button="Accept",
        done="Welcome. Your account is ready; you can sign in now.",
        fields=(("Name", NAME), ("Password", PASSWORD)),
    ),
    "reset-password": MailPage(
        title="Choose a new password",
        text="You will be signed out everywhere.",
        to="/api/v1/auth/password/reset",
        button="Change",
        done="Your password is changed; you can sign in with it now.",
        fields=(("New password", PASSWORD),),
    ),
    "confirm-email": MailPage(
        title="Confirm your new e-mail address",
        text="One click, and your account has this address.",
        to="/api/v1/auth/email/confirm",
        button="Confirm",
        done="Thank you. Your account has this address from now on; you can close this page.",
    ),
    "undo-email": MailPage(
        title="Take your account back",
        text="One click, and your account has its old e-mail address again. Everybody is signed out of it, what was"
        " added meanwhile (an authenticator, API keys, invitations) is taken away, and you get a link to choose a new"
        " password.",
        to="/api/v1/auth/email/undo",
        button="Undo the change",
        done="Your account has its old address again. Look for our mail, and choose a new password.",
    ),
}
"""The pages by their names, where we sign people in."""


def pages(*, signs_in: bool) -> dict[str, MailPage]:
    """Those that an installation has; where people sign in elsewhere, only what invitations link to."""
    return PAGES if signs_in else {"accept-invitation": ELSEWHERE}
