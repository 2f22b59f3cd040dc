"""The pages that mails link to: one form each, which sends the link's token once and shows the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from string import Template

ENGLISH, SPANISH = "en", "es"
PASSWORD = '<input name="password" type="password" autocomplete="new-password" required minlength="10" maxlength="128">'
NAME = '<input name="name" autocomplete="name" required maxlength="200">'
LOCALE = '<input name="locale" type="hidden" value="{}">'
"""Field that makes the page's language the language of the account."""

SHARED = {
    ENGLISH: {
        "lang": ENGLISH,
        "no_script": "This page needs JavaScript.",
        "incomplete": "This link is not complete. Open it from the mail once more.",
        "invalid": "This link was used already or is too old. If you used it, it has worked. If not, ask for a new"
        " one.",
        "unreachable": "The server can't be reached. Try again.",
        "busy": "The server can't do this at the moment. Try again in a minute.",
        "failed": "That did not work.",
        "weak": "",
        "changed": "The text that you can agree to has changed. Read it, and choose again.",
        "keep": "Keep in this account the scans and consents that were made with this browser.",
        "optional": "You may also agree to the following. You can withdraw it at any time.",
    },
    SPANISH: {
        "lang": SPANISH,
        "no_script": "Esta página necesita JavaScript.",
        "incomplete": "Este enlace no está completo. Ábrelo otra vez desde el correo.",
        "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si lo usaste tú, ha funcionado. Si no, pide uno"
        " nuevo.",
        "unreachable": "No se puede llegar al servidor. Inténtalo otra vez.",
        "busy": "El servidor no puede hacerlo ahora mismo. Inténtalo otra vez dentro de un minuto.",
        "failed": "No ha funcionado.",
        "weak": "Esta contraseña es fácil de adivinar o aparece en una filtración de datos. Elige otra: son mejores"
        " varias palabras que no tengan nada que ver entre sí.",
        "changed": "El texto que puedes aceptar ha cambiado. Léelo y elige otra vez.",
        "keep": "Conservar en esta cuenta los escaneos y consentimientos que se hicieron con este navegador.",
        "optional": "También puedes aceptar lo siguiente. Puedes retirarlo cuando quieras.",
    },
}
"""Texts of all pages, by language. `weak` replaces the API's reasons for refusing a password, which are in English."""


@dataclass(frozen=True, slots=True)
class MailPage:
    """One page in one language.

    Attributes:
        title: of the page.
        text: what the form is for.
        to: the endpoint that takes the token.
        button: label of the button.
        done: text after success.
        fields: label and input of each field of the form.
        makes_account: the form shows the notice in force and a box for each of its tiers. It offers to keep what an
            anonymous fan did with this browser.
        invalid: text for a link that was used or is too old, where it differs from that of other pages.
        sign_in: the instruction to sign in first, if the endpoint needs a session. The page reads the session from
            `#access_token=…` in its URL, where Supabase puts it.
    """

    title: str
    text: str
    to: str
    button: str
    done: str
    fields: tuple[tuple[str, str], ...] = ()
    makes_account: bool = False
    invalid: str = ""
    sign_in: str = ""

    def render(self, template: str, language: str = ENGLISH) -> bytes:
        """Return the page as HTML."""
        labels = (f"<label>{escape(label)} {field}</label>\n" for label, field in self.fields)
        own = {name: getattr(self, name) for name in ("title", "text", "to", "button", "done", "sign_in")}
        notice = f"/api/v1/consent-notices/default?locale={language}" if self.makes_account else ""
        if self.invalid:
            own["invalid"] = self.invalid
        words = {name: escape(text) for name, text in {**SHARED[language], **own, "notice": notice}.items()}
        return Template(template).substitute(words, fields="".join(labels)).encode()


ELSEWHERE = {
    ENGLISH: MailPage(
        title="Accept your invitation",
        text="You accept it with the account that you sign in with, if that has the address to which the invitation"
        " went.",
        to="/api/v1/users/me/invitation",
        button="Accept",
        done="Welcome. You work for the brand now: go back to the app, and sign in again or reload it.",
        sign_in="Sign in to the app first, or sign up there, with the address to which the invitation went. If you are"
        " new, you may be a member of the brand at once. If you aren't, open the link of the invitation from the app.",
    ),
    SPANISH: MailPage(
        title="Acepta tu invitación",
        text="La aceptas con la cuenta con la que entras, si tiene la dirección a la que se envió la invitación.",
        to="/api/v1/users/me/invitation",
        button="Aceptar",
        done="Te damos la bienvenida. Ya trabajas para la marca: vuelve a la aplicación y entra otra vez o recárgala.",
        sign_in="Entra primero en la aplicación, o regístrate en ella, con la dirección a la que se envió la"
        " invitación. Si no tenías cuenta, puede que ya seas miembro de la marca. Si no lo eres, abre el enlace de la"
        " invitación desde la aplicación.",
    ),
}
"""Accepting an invitation where a Supabase project signs people in, by language."""

PAGES: dict[str, dict[str, MailPage]] = {
    "verify-email": {
        ENGLISH: MailPage(
            title="Confirm your e-mail address",
            text="Choose a name and a password, and your account is ready.",
            to="/api/v1/auth/verify",
            button="Make my account",
            done="Thank you. Your account is ready; you can sign in now.",
            fields=(("Name", NAME + LOCALE.format(ENGLISH)), ("Password", PASSWORD)),
            makes_account=True,
            invalid="This link was used already or is too old. If you have made your account with it, sign in. If not,"
            " sign up again, and we mail you a new link.",
        ),
        SPANISH: MailPage(
            title="Confirma tu dirección de correo",
            text="Elige un nombre y una contraseña, y tu cuenta estará lista.",
            to="/api/v1/auth/verify",
            button="Crear mi cuenta",
            done="Gracias. Tu cuenta está lista; ya puedes entrar.",
            fields=(("Nombre", NAME + LOCALE.format(SPANISH)), ("Contraseña", PASSWORD)),
            makes_account=True,
            invalid="Este enlace ya se ha usado o es demasiado antiguo. Si ya creaste tu cuenta con él, entra. Si no,"
            " regístrate otra vez y te enviaremos un enlace nuevo.",
        ),
    },
    "accept-invitation": {
        ENGLISH: MailPage(
            title="Accept your invitation",
            text="Choose a name and a password for your account.",
            to="/api/v1/auth/accept-invitation",
            button="Accept",
            done="Welcome. Your account is ready; you can sign in now.",
            fields=(("Name", NAME + LOCALE.format(ENGLISH)), ("Password", PASSWORD)),
        ),
        SPANISH: MailPage(
            title="Acepta tu invitación",
            text="Elige un nombre y una contraseña para tu cuenta.",
            to="/api/v1/auth/accept-invitation",
            button="Aceptar",
            done="Te damos la bienvenida. Tu cuenta está lista; ya puedes entrar.",
            fields=(("Nombre", NAME + LOCALE.format(SPANISH)), ("Contraseña", PASSWORD)),
        ),
    },
    "reset-password": {
        ENGLISH: MailPage(
            title="Choose a new password",
            text="You will be signed out everywhere. Your authenticator, recovery codes, API keys and open invitations"
            " are removed, so that nobody who used the account before gets in.",
            to="/api/v1/auth/password/reset",
            button="Change",
            done="Your password is changed; you can sign in with it now.",
            fields=(("New password", PASSWORD),),
        ),
        SPANISH: MailPage(
            title="Elige una contraseña nueva",
            text="Se cerrarán todas tus sesiones. Se quitan tu autenticador, tus códigos de recuperación, tus claves de"
            " API y tus invitaciones abiertas, para que no entre nadie que usara la cuenta antes.",
            to="/api/v1/auth/password/reset",
            button="Cambiar",
            done="Tu contraseña ha cambiado; ya puedes entrar con ella.",
            fields=(("Contraseña nueva", PASSWORD),),
        ),
    },
    "confirm-email": {
        ENGLISH: MailPage(
            title="Confirm your new e-mail address",
            text="One click, and your account has this address.",
            to="/api/v1/auth/email/confirm",
            button="Confirm",
            done="Thank you. Your account has this address from now on; you can close this page.",
        ),
        SPANISH: MailPage(
            title="Confirma tu nueva dirección de correo",
            text="Un clic, y tu cuenta tiene esta dirección.",
            to="/api/v1/auth/email/confirm",
            button="Confirmar",
            done="Gracias. Tu cuenta tiene esta dirección desde ahora; puedes cerrar esta página.",
        ),
    },
    "undo-email": {
        ENGLISH: MailPage(
            title="Take your account back",
            text="One click, and your account has its old e-mail address again. Everybody is signed out of it. Its"
            " authenticator, recovery codes, API keys and open invitations are removed, and you get a link to choose a"
            " new password.",
            to="/api/v1/auth/email/undo",
            button="Undo the change",
            done="Your account has its old address again. Look for our mail, and choose a new password.",
        ),
        SPANISH: MailPage(
            title="Recupera tu cuenta",
            text="Un clic, y tu cuenta vuelve a tener su dirección anterior. Se cierran todas sus sesiones. Se quitan"
            " su autenticador, sus códigos de recuperación, sus claves de API y sus invitaciones abiertas, y recibes un"
            " enlace para elegir una contraseña nueva.",
            to="/api/v1/auth/email/undo",
            button="Deshacer el cambio",
            done="Tu cuenta vuelve a tener su dirección anterior. Busca nuestro correo y elige una contraseña nueva.",
        ),
    },
}
"""The pages by name and language, where we sign people in."""


def pages(*, signs_in: bool) -> Mapping[str, Mapping[str, MailPage]]:
    """Return the pages of an installation. Where Supabase signs people in, only the page of invitations."""
    return PAGES if signs_in else {"accept-invitation": ELSEWHERE}
