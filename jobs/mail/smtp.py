"""The way out for mail: one message to one recipient over SMTP."""

import re
import smtplib
import ssl
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

from jobs.mail.templates import Letter
from models.core import emails
from models.core.errors import Problem
from settings import settings

TIMEOUT = 5.0
"""Seconds that one exchange with the server may take."""

ANSWER_BYTES = 65_536
"""Bytes of answers that are read of one connection. `smtplib` reads an answer of any number of lines into memory."""

_WORD_BYTES = 39
"""UTF-8 bytes in one encoded word: the line of `Subject: ` stays within 76 characters (RFC 2047, section 2)."""
_PLAIN_SUBJECT = re.compile(r"(?=.{1,66}\Z)[!-~]+( [!-~]+)*")
_PLAIN_NAME = re.compile(r"(?=.{1,66}\Z)[\w!#$%&'*+/=?^`{|}~-]+( [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
"""Texts that a header holds as they are: printable ASCII in one line; for a name, RFC 5322's atoms."""


class Undeliverable(Problem):
    """The message can't be composed, or the server has refused its sender, recipient or content with 5xx."""

    code = "mail_undeliverable"


class _Answers:
    """The answers of the server as `smtplib` reads them, up to `ANSWER_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = ANSWER_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"the answers have more than {ANSWER_BYTES} bytes")
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


def compose(letter: Letter, to: str, idempotency_key: str) -> Mail:
    """Compose the message with this letter. Its Message-ID depends on the key alone, so a repetition is recognised.

    This function writes the header itself. The package `email` decodes encoded words in its input, and in some releases
    a line end in them becomes a line end of the header.

    Raises:
        Invalid: `to` or `MAIL_FROM` is not an address.
    """
    name, sender = emails.parse_sender(settings.mail_from)
    recipient = emails.normalise(to)
    head = {
        "From": f"{_encode(name, _PLAIN_NAME)}\r\n <{sender}>" if name else sender,
        "To": recipient,
        "Subject": _encode(letter.subject, _PLAIN_SUBJECT),
        "Date": formatdate(),
        "Message-ID": f"<{sha256(idempotency_key.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",
    }
    body = EmailMessage(policy=policy.SMTP)
    body.set_content(letter.text)
    body.add_alternative(letter.html, subtype="html")
    lines = "".join(f"{field}: {value}\r\n" for field, value in head.items())
    return Mail(sender, recipient, lines.encode("ascii") + body.as_bytes())


def _encode(text: str, plain: re.Pattern[str]) -> str:
    """Return the text as it stands in a header: unchanged where that is safe, otherwise as encoded words (RFC 2047)."""
    if plain.fullmatch(text) and "=?" not in text:
        return text
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode()}?=" for word in _words(text))


def _words(text: str) -> Iterator[bytes]:
    """Split the text's UTF-8 between characters into at most `_WORD_BYTES` each: a word must be decodable by itself."""
    word = b""
    for character in text:
        encoded = character.encode(errors="replace")
        if len(word) + len(encoded) > _WORD_BYTES:
            yield word
            word = b""
        word += encoded
    yield word


def send(mail: Mail) -> None:
    """Hand the message to the server. Once the server has accepted the content, nothing raises.

    Raises:
        Undeliverable: the server answered 5xx to the sender, the recipient or the content; a retry is useless.
        OSError, smtplib.SMTPException: there is no connection, the server refuses all mail for now (5xx to the
            connection or the login included), or it answered 4xx; a retry may succeed.
    """
    url = urlsplit(settings.smtp_url)
    try:
        with _session(url) as server:
            server.sendmail(mail.sender, [mail.recipient], mail.content)
    except smtplib.SMTPRecipientsRefused as refused:
        code, said = next(iter(refused.recipients.values()))
        raise _permanent(code, said) or refused from None
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
        raise _permanent(refused.smtp_code, refused.smtp_error) or refused from None


def _permanent(code: int, said: bytes | str) -> Undeliverable | None:
    if code < 500:
        return None
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return Undeliverable(f"{code} {text}")


@contextmanager
def _session(url: SplitResult) -> Iterator[smtplib.SMTP]:
    server = _connected(url)
    try:
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        yield server
    finally:
        # Don't wait for the answer to QUIT: an error here would send an accepted mail again.
        with suppress(OSError):
            server.putcmd("QUIT")
        server.close()


def _connected(url: SplitResult) -> smtplib.SMTP:
    host, tls = url.hostname or "127.0.0.1", ssl.create_default_context()
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
