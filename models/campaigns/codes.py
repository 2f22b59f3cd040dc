"""Printed codes: what a phone reads is the code's id with our signature, so nobody can make one up."""

import base64
import binascii
import hmac
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import keys
from models.core.database import Row
from settings import settings

_PURPOSE = "qr-code"
_ID, _MAC = 16, 10  # bytes; 80 bits of HMAC-SHA256 can't be guessed over a network, and keep the picture coarse
_LENGTH = _ID + 1 + _MAC


class QrCode(Row):
    """A code of a campaign. Its signature is not stored."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    label = peewee.TextField()
    key_version = peewee.IntegerField()
    created_at = DateTimeTZField()
    disabled_at = DateTimeTZField(null=True)

    class Meta:
        """Where the table lives."""

        table_name = "qr_codes"


def make_token(code_id: UUID, key_version: int) -> str:
    """The token of a code: its id, the version of the key and the signature, as base64url without padding (36 letters).

    Raises:
        KeyError: there is no root secret of that version.
    """
    return base64.urlsafe_b64encode(code_id.bytes + bytes([key_version]) + _mac(code_id.bytes, key_version)).decode()


def read_token(token: str) -> UUID | None:
    """The id of the code that a token is for; None if we didn't sign it, or with a key that is no longer known."""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        return None
    if len(raw) != _LENGTH or base64.urlsafe_b64encode(raw).decode() != token or raw[_ID] not in keys.versions():
        return None
    genuine = hmac.compare_digest(raw[_ID + 1 :], _mac(raw[:_ID], raw[_ID]))
    return UUID(bytes=raw[:_ID]) if genuine else None


def url_of(token: str) -> str:
    """What the picture of a code says: a page of ours that opens the scan."""
    return f"{settings.frontend_url}/s/{token}"


def _mac(code_id: bytes, key_version: int) -> bytes:
    return keys.keyed_hash(_PURPOSE, code_id, version=key_version)[:_MAC]
