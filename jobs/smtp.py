"""The way out for mail: one message to one recipient over SMTP."""

import smtplib
import ssl
from contextlib import AbstractContextManager
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from hashlib import sha256
from urllib.parse import SplitResult, unquote, urlsplit

from jobs.letters import Letter
from models.errors import Problem
from settings import settings

TIMEOUT = 5.0
"""Seconds that one exchange with the server may take."""


class Undeliverable(Problem):
    """The server has refused the recipient or the message for good."""

    status = 422
    code = "mail_undeliverable"
    title = "The mail can't be delivered"


def compose(letter: Letter, to: str, idempotency_key: str) -> EmailMessage:
    """The message with this letter. Its Message-ID is made from the key: sent twice, it is recognised as one."""
    name, sender = parseaddr(settings.mail_from)
    domain = sender.rpartition("@")[2]
    message = EmailMessage()
    message["From"] = Address(display_name=name, addr_spec=sender)
    message["To"] = to
    message["Subject"] = letter.subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{sha256(idempotency_key.encode()).hexdigest()[:32]}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def send(message: EmailMessage) -> None:
    """Hand the message to the server.

    Raises:
        Undeliverable: the server said 5xx about the recipient or the message; trying again is no use.
        OSError, smtplib.SMTPException: it could not be reached, or said that it can't now.
    """
    url = urlsplit(settings.smtp_url)
    try:
        with _connected(url) as server:
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(message, from_addr=parseaddr(settings.mail_from)[1], to_addrs=[message["To"]])
    except smtplib.SMTPRecipientsRefused as refused:
        code, said = next(iter(refused.recipients.values()))
        raise _permanent(code, said) or refused from None
    except smtplib.SMTPDataError as refused:
        raise _permanent(refused.smtp_code, refused.smtp_error) or refused from None


def _permanent(code: int, said: bytes | str) -> Undeliverable | None:
    if code < 500:
        return None
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return Undeliverable(f"{code} {text}")


def _connected(url: SplitResult) -> AbstractContextManager[smtplib.SMTP]:
    host, tls = url.hostname or "127.0.0.1", ssl.create_default_context()
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, url.port or 465, timeout=TIMEOUT, context=tls)
    server = smtplib.SMTP(host, url.port or 25, timeout=TIMEOUT)
    try:
        server.ehlo_or_helo_if_needed()
        if server.has_extn("starttls"):
            server.starttls(context=tls)
        elif settings.environment == "production":
            raise smtplib.SMTPNotSupportedError("the mail server offers no TLS")
    except BaseException:
        server.close()
        raise
    return server
