"""Compose a mail and send it to one recipient over SMTP."""

import re
import smtplib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from jobs.mail.templates import RenderedMail
from models.core import emails
from models.core.errors import Problem
from models.core.tls import client_context
from settings import settings

TIMEOUT = 5.0
"""Longest time of one exchange with the server, in seconds."""

MAX_ANSWER_BYTES = 65_536
"""Maximum bytes of answers that are read on one connection. `smtplib` would read any number of lines into memory."""

_WORD_BYTES = 39
"""UTF-8 bytes in one encoded word: the line of `Subject: ` stays within 76 characters (RFC 2047, section 2)."""
_PLAIN_SUBJECT = re.compile(r"(?=.{1,66}\Z)[!-~]+( [!-~]+)*")
_PLAIN_NAME = re.compile(r"(?=.{1,66}\Z)[\w!#$%&'*+/=?^`{|}~-]+( [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
"""Texts that need no encoding in a header: printable ASCII in one line; for a name, atoms of RFC 5322."""


class Undeliverable(Problem):
    """The message can't be composed, or the server has refused its sender, recipient or content with 5xx."""

    code = "mail_undeliverable"


class _Answers:
    """Answers of the server as `smtplib` reads them, limited to `MAX_ANSWER_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_ANSWER_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"the answers have more than {MAX_ANSWER_BYTES} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Client(smtplib.SMTP):
    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Answers(self.sock.makefile("rb"))
        return super().getreply()


class _TlsClient(_Client, smtplib.SMTP_SSL):
    pass


@dataclass(frozen=True, slots=True)
class Mail:
    """Encoded message with its envelope."""

    sender: str
    recipient: str
    content: bytes


def compose(mail: RenderedMail, to: str, idempotency_key: str) -> Mail:
    """Compose the message of a mail. Its Message-ID depends on the key only, so a repetition can be recognised.

    This function writes the header itself. The package `email` decodes encoded words in its input, and in some releases
    a line end in such a word becomes a line end of the header.

    Raises:
        Invalid: `to` or `MAIL_FROM` is not an address.
    """
    name, sender = emails.parse_sender(settings.mail_from)
    recipient = emails.normalise(to)
    head = {
        "From": f"{_encode(name, _PLAIN_NAME)}\r\n <{sender}>" if name else sender,
        "To": recipient,
        "Subject": _encode(mail.subject, _PLAIN_SUBJECT),
        "Date": formatdate(),
        "Message-ID": f"<{sha256(idempotency_key.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>",
        "Content-Language": mail.language,
        "Auto-Submitted": "auto-generated",
    }
    body = EmailMessage(policy=policy.SMTP)
    body.set_content(mail.text)
    body.add_alternative(mail.html, subtype="html")
    lines = "".join(f"{field}: {value}\r\n" for field, value in head.items())
    return Mail(sender, recipient, lines.encode("ascii") + body.as_bytes())


def _encode(text: str, plain: re.Pattern[str]) -> str:
    """Return the text for a header: unchanged if that is safe, otherwise as encoded words (RFC 2047)."""
    if plain.fullmatch(text) and "=?" not in text:
        return text
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode()}?=" for word in _words(text))


def _words(text: str) -> Iterator[bytes]:
    """Split a text between characters into UTF-8 words of at most `_WORD_BYTES`, each decodable alone."""
    word = b""
    for character in text:
        encoded = character.encode(errors="replace")
        if len(word) + len(encoded) > _WORD_BYTES:
            yield word
            word = b""
        word += encoded
    yield word


def send(mail: Mail) -> None:
    """Send the message. After the server has accepted the content, no error is raised.

    Raises:
        Undeliverable: the server answered 5xx to the sender, the recipient or the content; a retry is useless.
        OSError, smtplib.SMTPException: there is no connection, the server refuses all mail (also by 5xx to the
            connection or the login), or it answered 4xx; a retry may succeed.
    """
    url = urlsplit(settings.smtp_url)
    try:
        with _session(url) as server:
            server.sendmail(mail.sender, [mail.recipient], mail.content)
    except smtplib.SMTPRecipientsRefused as refused:
        code, answer = next(iter(refused.recipients.values()))
        raise _permanent(code, answer) or refused from None
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
        raise _permanent(refused.smtp_code, refused.smtp_error) or refused from None


def _permanent(code: int, answer: bytes | str) -> Undeliverable | None:
    """Return the error for a permanent refusal (5xx); None for a temporary one (4xx)."""
    if code < 500:
        return None
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return Undeliverable(f"{code} {text}")


@contextmanager
def _session(url: SplitResult) -> Iterator[smtplib.SMTP]:
    server = _connect(url)
    try:
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        yield server
    finally:
        # Don't wait for the answer to QUIT: an error here would cause a retry of an accepted mail.
        with suppress(OSError):
            server.putcmd("QUIT")
        server.close()


def _connect(url: SplitResult) -> smtplib.SMTP:
    host, tls = url.hostname or "127.0.0.1", client_context()
    if url.scheme == "smtps":
        return _TlsClient(host, url.port or 465, timeout=TIMEOUT, context=tls)
    server = _Client(host, url.port or 25, timeout=TIMEOUT)
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
