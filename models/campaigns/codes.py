"""Printed codes: their rows, and the signed token that a phone reads.

A token is the code's id with a signature, so tokens can't be forged. The signature is not stored.
"""

import hmac
import re
from typing import Annotated, NoReturn
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns import campaigns
from models.campaigns.campaigns import Campaign, CampaignCompleted
from models.core import base64url, keys
from models.core.database import Row, new_id, now
from models.core.errors import Conflict, Members, NotFound
from models.core.messages import Message
from settings import settings

FIRST_LABEL = "default"
"""Label of the code that a launch creates if the campaign has none."""

_PURPOSE = "qr-code"
_ID, _MAC = 16, 10  # bytes; 80 bits of HMAC-SHA256 can't be guessed over a network and keep the picture small
_LENGTH = _ID + 1 + _MAC
_URL = re.compile(r"https?://[^?#\s]+/s/([A-Za-z0-9_-]+)/?(?:[?#].*)?", re.IGNORECASE)


class LabelTakenMembers(Members):
    """The label."""

    label: Annotated[str, msgspec.Meta(description="The label in its stored form.", examples=["Entrance"])]


class LabelTaken(Conflict):
    """The campaign has a code with this label; labels are unique within a campaign."""

    code = "label_taken"
    members = LabelTakenMembers


class QrCode(Row):
    """A code of a campaign."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    label = peewee.TextField()
    key_version = peewee.IntegerField()
    created_at = DateTimeTZField()
    disabled_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "qr_codes"


def add(campaign_id: UUID, label: str) -> QrCode:
    """Create a code for a campaign.

    Raises:
        NotFound: the brand has no such campaign.
        CampaignCompleted: the campaign is completed.
        LabelTaken: the campaign has a code with this label.
    """
    campaign = campaigns.get(campaign_id)
    if campaign.status == "Completed":
        raise CampaignCompleted
    return _insert(campaign, label) or _refuse(label)


def _insert(campaign: Campaign, label: str) -> QrCode | None:
    insert = QrCode.insert(
        id=new_id(),
        brand_id=campaign.brand_id,
        campaign_id=campaign.id,
        label=label,
        key_version=keys.active_version(),
        created_at=now(),
    )
    unique = (QrCode.brand_id, QrCode.campaign_id, QrCode.label)
    return next(iter(insert.on_conflict(conflict_target=unique, action="IGNORE").returning(QrCode).execute()), None)


def _refuse(label: str) -> NoReturn:
    raise LabelTaken(Message("Another code of the campaign has the label “{label}”.", label=label), label=label)


def ensure_first(campaign_id: UUID) -> None:
    """Create a campaign's first code unless it has one."""
    if not find(campaign_id, limit=1):
        _insert(campaigns.get(campaign_id), FIRST_LABEL)


def find(campaign_id: UUID, *, limit: int, after: UUID | None = None) -> list[QrCode]:
    """Return up to `limit` codes of a campaign, oldest first, that follow the code with the id `after`."""
    query = QrCode.select().where(QrCode.campaign_id == campaign_id).order_by(QrCode.id).limit(limit)
    return list(query if after is None else query.where(QrCode.id > after))


def get(campaign_id: UUID, code_id: UUID) -> QrCode:
    """Return a code of a campaign.

    Raises:
        NotFound: the campaign has no such code, or the caller may not see it.
    """
    found: QrCode | None = QrCode.get_or_none(QrCode.id == code_id, QrCode.campaign_id == campaign_id)
    if found is None:
        raise NotFound
    return found


def make_token(code_id: UUID, key_version: int) -> str:
    """Return a code's token: id, key version and signature as base64url without padding (36 characters).

    Raises:
        KeyError: there is no root secret of this version.
    """
    return base64url.encode(code_id.bytes + bytes([key_version]) + _mac(code_id.bytes, key_version))


def read_token(token: str) -> UUID | None:
    """Return the id of a token's code; None if the signature is wrong or its key is no longer known."""
    try:
        raw = base64url.decode(token)
    except ValueError:
        return None
    # Encode again and compare: base64 decoders accept several spellings of the same bytes.
    if len(raw) != _LENGTH or base64url.encode(raw) != token or raw[_ID] not in keys.versions():
        return None
    genuine = hmac.compare_digest(raw[_ID + 1 :], _mac(raw[:_ID], raw[_ID]))
    return UUID(bytes=raw[:_ID]) if genuine else None


def token_in(text: str) -> str:
    """Return the token of a code's URL, whatever its host and query; return other texts unchanged.

    Only the token is signed. A URL of another host with a genuine token is worth as much as the token alone.
    """
    found = _URL.fullmatch(text)
    return found[1] if found else text


def url_of(token: str) -> str:
    """Return the URL in the picture of a code: the page that performs the scan."""
    return f"{settings.frontend_url}/s/{token}"


def _mac(code_id: bytes, key_version: int) -> bytes:
    return keys.keyed_hash(_PURPOSE, code_id, version=key_version)[:_MAC]
