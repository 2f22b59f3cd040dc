"""Email addresses: check them, and convert all spellings of one address to one text."""

from email_validator import EmailNotValidError, validate_email

from models.core import keys
from models.core.errors import Invalid
from models.core.messages import Message
from settings import settings

MAX_LENGTH = 254
"""Maximum number of characters of an address (RFC 5321: a path of 256 octets, with two angle brackets)."""


def canonical(text: str) -> str:
    """Return the address in the form that identifies an account: lower case, with the domain in ASCII (IDNA).

    The domain is not looked up.

    Raises:
        ValueError: the text is no mail address, or holds an encoded word (RFC 2047).
    """
    # Mail programs may decode `=?…?=`: several texts would reach one mailbox, and each would have its own limits.
    if "=?" in text:
        raise ValueError(Message("must not contain `=?`"))
    try:
        address = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=False,
            strict=True,
            test_environment=settings.environment != "production",
        )
    except EmailNotValidError:
        raise ValueError(Message("must be an e-mail address, such as ana@brand.example")) from None
    ascii_form = (address.ascii_email or address.normalized).lower()
    if len(ascii_form) > MAX_LENGTH:
        raise ValueError(Message("must have at most {most} characters", most=MAX_LENGTH))
    return ascii_form


def normalise(text: str, field: str = "email") -> str:
    """Return the address in its canonical form.

    Raises:
        Invalid: the text is no mail address. Names `field`.
    """
    try:
        return canonical(text)
    except ValueError as error:
        raise Invalid(field, error.args[0]) from None


def parse_sender(text: str) -> tuple[str, str]:
    """Split `Name <address>` into the name (may be empty) and the normalised address.

    Raises:
        Invalid: the address is not valid.
    """
    name, _, address = text.strip().rpartition("<")
    return name.strip().strip('"'), normalise(address.removesuffix(">").strip(), "MAIL_FROM")


def fingerprint(address: str) -> bytes:
    """Return a keyed hash of a normalised address, to recognise the address without storing it."""
    return keys.keyed_hash("email", address.encode())
