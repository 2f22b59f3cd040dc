"""Pages that mails link to: one form each, which sends the link's token once and shows the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from string import Template

from models.identity import passwords
from web.pages.languages import ENGLISH, SPANISH, links

_NEW_PASSWORD = (
    '<div class="secret"><input id="password" name="password" type="password" autocomplete="new-password" required'
    f' minlength="{passwords.MIN_LENGTH}" maxlength="{passwords.MAX_LENGTH}" aria-describedby="rule"'
    ' data-rule="rule"><button type="button" class="second" aria-label="$reveal_label">$reveal</button></div>'
    '<small id="rule">$rule</small>'
)
INPUTS = {
    "name": '<input id="name" name="name" autocomplete="name" required maxlength="200">'
    '<input name="locale" type="hidden" value="$lang">',
    "password": _NEW_PASSWORD,
    "new_password": _NEW_PASSWORD,
}
"""Inputs by field. The hidden one makes the page's language the language of the account."""

LABELS = {
    ENGLISH: {"name": "Name", "password": "Password", "new_password": "New password"},
    SPANISH: {"name": "Nombre", "password": "Contraseña", "new_password": "Contraseña nueva"},
}

SHARED = {
    ENGLISH: {
        "no_script": "This page needs JavaScript.",
        "incomplete": "This link is not complete. Open it from the mail once more.",
        "invalid": "This link was used already or is too old. If you used it, it has worked. If not, ask for a new"
        " one.",
        "unreachable": "The server can't be reached. Try again.",
        "busy": "The server can't do this at the moment. Try again in a minute.",
        "failed": "That did not work.",
        "changed": "The text that you can agree to has changed. Read it, and choose again.",
        "keep": "Keep in this account the scans and consents that were made with this browser.",
        "optional": "You may also agree to the following. You can withdraw it at any time.",
        "rule": f"At least {passwords.MIN_LENGTH} characters. Several unrelated words are easy to remember and hard to"
        " guess.",
        "reveal": "Show",
        "conceal": "Hide",
        "reveal_label": "Show the password",
        "conceal_label": "Hide the password",
        "email": "Email address",
        "renew": "Send a new link",
        "renewed": "Look at your mail: if the address is right, a new link is on its way.",
        "languages": "Language",
    },
    SPANISH: {
        "no_script": "Esta página necesita JavaScript.",
        "incomplete": "Este enlace no está completo. Ábrelo otra vez desde el correo.",
        "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si lo usaste tú, ha funcionado. Si no, pide uno"
        " nuevo.",
        "unreachable": "No se puede llegar al servidor. Inténtalo otra vez.",
        "busy": "El servidor no puede hacerlo ahora mismo. Inténtalo otra vez dentro de un minuto.",
        "failed": "No ha funcionado.",
        "changed": "El texto que puedes aceptar ha cambiado. Léelo y elige otra vez.",
        "keep": "Conservar en esta cuenta los escaneos y consentimientos que se hicieron con este navegador.",
        "optional": "También puedes aceptar lo siguiente. Puedes retirarlo cuando quieras.",
        "rule": f"Al menos {passwords.MIN_LENGTH} caracteres. Varias palabras sin relación entre sí se recuerdan bien y"
        " cuesta adivinarlas.",
        "reveal": "Mostrar",
        "conceal": "Ocultar",
        "reveal_label": "Mostrar la contraseña",
        "conceal_label": "Ocultar la contraseña",
        "email": "Dirección de correo",
        "renew": "Enviar un enlace nuevo",
        "renewed": "Mira tu correo: si la dirección es correcta, un enlace nuevo está en camino.",
        "languages": "Idioma",
    },
}
"""Texts of all pages, by language."""


@dataclass(frozen=True, slots=True)
class MailPage:
    """One page in all languages.

    Attributes:
        to: endpoint that the form sends the token to.
        fields: fields of the form, besides the token.
        renews: endpoint that mails a new link to an address; the page offers it for a used or expired link.
        makes_account: the form shows the notice in force and a checkbox for each of its tiers. It offers to keep the
            data that an anonymous fan created with this browser.
        texts: by language: `title`; `text`, the purpose of the form; `button`, its label; `done`, shown after success.
            Optional: `invalid`, shown for a used or expired link instead of the shared text; `sign_in`, the
            instruction to sign in first, if the endpoint needs a session. The page reads the session from
            `#access_token=…` in its URL, which Supabase sets.
    """

    to: str
    texts: Mapping[str, Mapping[str, str]]
    fields: tuple[str, ...] = ()
    renews: str = ""
    makes_account: bool = False

    def values(self, language: str) -> dict[str, str]:
        """Return the values of the template `mail-link.html`, escaped for HTML."""
        notice = f"/api/v1/consent-notices/default?locale={language}" if self.makes_account else ""
        texts = {"sign_in": "", **SHARED[language], **self.texts[language]}
        plain = {**texts, "lang": language, "to": self.to, "notice": notice, "renews": self.renews}
        escaped = {name: escape(text) for name, text in plain.items()}
        fields = "".join(_field(name, language, escaped) for name in self.fields)
        return escaped | {"fields": fields} | frame(language)


def frame(language: str) -> dict[str, str]:
    """Return the values that the templates of all pages have."""
    return {"lang": language, "languages": escape(SHARED[language]["languages"]), "switch": links(language)}


def _field(name: str, language: str, values: Mapping[str, str]) -> str:
    """Return a label with its input."""
    label, target = escape(LABELS[language][name]), "name" if name == "name" else "password"
    content = Template(INPUTS[name]).substitute(values)
    return f'<div class="field"><label for="{target}">{label}</label>{content}</div>\n'


SUPABASE_INVITATION = MailPage(
    to="/api/v1/users/me/invitation",
    texts={
        ENGLISH: {
            "title": "Accept your invitation",
            "text": "You accept it with the account that you sign in with, if that has the address to which the"
            " invitation went.",
            "button": "Accept",
            "done": "Welcome. You work for the brand now: go back to the app, and sign in again or reload it.",
            "sign_in": "Sign in to the app first, or sign up there, with the address to which the invitation went. If"
            " you are new, you may be a member of the brand at once. If you aren't, open the link of the invitation"
            " from the app.",
        },
        SPANISH: {
            "title": "Acepta tu invitación",
            "text": "La aceptas con la cuenta con la que entras, si tiene la dirección a la que se envió la"
            " invitación.",
            "button": "Aceptar",
            "done": "Te damos la bienvenida. Ya trabajas para la marca: vuelve a la aplicación y entra otra vez o"
            " recárgala.",
            "sign_in": "Entra primero en la aplicación, o regístrate en ella, con la dirección a la que se envió la"
            " invitación. Si no tenías cuenta, puede que ya seas miembro de la marca. Si no lo eres, abre el enlace de"
            " la invitación desde la aplicación.",
        },
    },
)
"""Acceptance of an invitation where a Supabase project signs people in."""

PAGES: dict[str, MailPage] = {
    "verify-email": MailPage(
        to="/api/v1/auth/verify",
        fields=("name", "password"),
        renews="/api/v1/auth/signup",
        makes_account=True,
        texts={
            ENGLISH: {
                "title": "Confirm your email address",
                "text": "Choose a name and a password, and your account is ready.",
                "button": "Make my account",
                "done": "Thank you. Your account is ready; you can sign in now.",
                "invalid": "This link was used already or is too old. If you have made your account with it, sign in."
                " If not, have a new link mailed to you.",
            },
            SPANISH: {
                "title": "Confirma tu dirección de correo",
                "text": "Elige un nombre y una contraseña, y tu cuenta estará lista.",
                "button": "Crear mi cuenta",
                "done": "Gracias. Tu cuenta está lista; ya puedes entrar.",
                "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si ya creaste tu cuenta con él, entra."
                " Si no, pide que te enviemos un enlace nuevo.",
            },
        },
    ),
    "accept-invitation": MailPage(
        to="/api/v1/auth/accept-invitation",
        fields=("name", "password"),
        texts={
            ENGLISH: {
                "title": "Accept your invitation",
                "text": "Choose a name and a password for your account.",
                "button": "Accept",
                "done": "Welcome. Your account is ready; you can sign in now.",
                "invalid": "This link was used already or is too old. If you have accepted with it, sign in. If not,"
                " ask the person who invited you for a new invitation.",
            },
            SPANISH: {
                "title": "Acepta tu invitación",
                "text": "Elige un nombre y una contraseña para tu cuenta.",
                "button": "Aceptar",
                "done": "Te damos la bienvenida. Tu cuenta está lista; ya puedes entrar.",
                "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si ya aceptaste con él, entra. Si no,"
                " pide una invitación nueva a quien te invitó.",
            },
        },
    ),
    "reset-password": MailPage(
        to="/api/v1/auth/password/reset",
        fields=("new_password",),
        renews="/api/v1/auth/password/forgot",
        texts={
            ENGLISH: {
                "title": "Choose a new password",
                "text": "You will be signed out everywhere. Your authenticator, recovery codes, API keys and open"
                " invitations are removed, to end all earlier access.",
                "button": "Change",
                "done": "Your password is changed; you can sign in with it now.",
                "invalid": "This link was used already or is too old. If you have changed your password with it, sign"
                " in. If not, have a new link mailed to you.",
            },
            SPANISH: {
                "title": "Elige una contraseña nueva",
                "text": "Se cerrarán todas tus sesiones. Se quitan tu autenticador, tus códigos de recuperación, tus"
                " claves de API y tus invitaciones abiertas, para que no entre nadie que usara la cuenta antes.",
                "button": "Cambiar",
                "done": "Tu contraseña ha cambiado; ya puedes entrar con ella.",
                "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si ya cambiaste tu contraseña con él,"
                " entra. Si no, pide que te enviemos un enlace nuevo.",
            },
        },
    ),
    "confirm-email": MailPage(
        to="/api/v1/auth/email/confirm",
        texts={
            ENGLISH: {
                "title": "Confirm your new email address",
                "text": "One click, and your account has this address.",
                "button": "Confirm",
                "done": "Thank you. Your account has this address from now on; you can close this page.",
                "invalid": "This link was used already or is too old. If you have confirmed the address with it, it has"
                " worked. If not, sign in and change the address again.",
            },
            SPANISH: {
                "title": "Confirma tu nueva dirección de correo",
                "text": "Un clic, y tu cuenta tiene esta dirección.",
                "button": "Confirmar",
                "done": "Gracias. Tu cuenta tiene esta dirección desde ahora; puedes cerrar esta página.",
                "invalid": "Este enlace ya se ha usado o es demasiado antiguo. Si ya confirmaste la dirección con él,"
                " ha funcionado. Si no, entra y cambia la dirección otra vez.",
            },
        },
    ),
    "undo-email": MailPage(
        to="/api/v1/auth/email/undo",
        texts={
            ENGLISH: {
                "title": "Take your account back",
                "text": "One click, and your account has its old email address again. Everybody is signed out of it."
                " Its authenticator, recovery codes, API keys and open invitations are removed, and you get a link to"
                " choose a new password.",
                "button": "Undo the change",
                "done": "Your account has its old address again. Look for our mail, and choose a new password.",
            },
            SPANISH: {
                "title": "Recupera tu cuenta",
                "text": "Un clic, y tu cuenta vuelve a tener su dirección anterior. Se cierran todas sus sesiones. Se"
                " quitan su autenticador, sus códigos de recuperación, sus claves de API y sus invitaciones abiertas,"
                " y recibes un enlace para elegir una contraseña nueva.",
                "button": "Deshacer el cambio",
                "done": "Tu cuenta vuelve a tener su dirección anterior. Busca nuestro correo y elige una contraseña"
                " nueva.",
            },
        },
    ),
}
"""The pages by name, where people sign in here."""


def pages(*, signs_in: bool) -> Mapping[str, MailPage]:
    """Return the pages of an installation. Where Supabase signs people in, only the page of invitations."""
    return PAGES if signs_in else {"accept-invitation": SUPABASE_INVITATION}
