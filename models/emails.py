"""E-mail addresses: one text for one mailbox."""

from email_validator import EmailNotValidError, validate_email

from models import keys
from models.errors import Invalid
from settings import settings

MAX_LENGTH = 254


def normalise(text: str, field: str = "email") -> str:
    """The address in the form that accounts are told apart by: lower case, the domain in ASCII (IDNA).

    Nobody is asked whether the domain exists; the mail will tell.

    Raises:
        Invalid: it is not an address that mail could be sent to; names `field`.
    """
    try:
        address = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=False,
            strict=True,
            test_environment=settings.environment != "production",
        )
    except EmailNotValidError as error:
        raise Invalid(field, str(error)) from None
    ascii_form = (address.ascii_email or address.normalized).lower()
    if len(ascii_form) > MAX_LENGTH:
        raise Invalid(field, "is too long")
    return ascii_form


def fingerprint(address: str) -> bytes:
    """A keyed hash of a normalised address, for what has to recognise it without saying it."""
    return keys.keyed_hash("email", address.encode())
