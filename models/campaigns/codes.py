"""Printed codes: their rows, and the signed token that a phone reads.

A token is the code's id with a signature, so tokens can't be forged. The signature is not stored.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns import campaigns
from models.campaigns.campaigns import Campaign, CampaignArchived, CampaignCompleted
from models.core import keys, signed_ids
from models.core.database import Row, new_id, now
from models.core.errors import Conflict, Members, NotFound
from models.core.messages import Message
from settings import settings

FIRST_LABEL = "default"
"""Label of the code that a launch creates if the campaign has none."""

_PURPOSE = "qr-code"
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
        CampaignArchived: the campaign is archived.
        CampaignCompleted: the campaign is completed.
        LabelTaken: the campaign has a code with this label.
    """
    campaign = campaigns.get(campaign_id)
    if campaign.archived_at is not None:
        raise CampaignArchived
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


def find(campaign_id: UUID, *, limit: int, after: UUID | None = None, disabled: bool | None = None) -> list[QrCode]:
    """Return codes of a campaign, oldest first.

    Args:
        campaign_id: the campaign.
        limit: maximum number of codes.
        after: id of the last code of the previous page.
        disabled: true for disabled codes only, false for enabled ones only.
    """
    query = QrCode.select().where(QrCode.campaign_id == campaign_id).order_by(QrCode.id).limit(limit)
    if disabled is not None:
        query = query.where(QrCode.disabled_at.is_null(not disabled))
    return list(query if after is None else query.where(QrCode.id > after))


def counts(campaign_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Return the number of enabled codes of each campaign that has any."""
    query: Any = (
        QrCode.select(QrCode.campaign_id, peewee.fn.count(QrCode.id))
        .where(QrCode.campaign_id.in_(list(campaign_ids)), QrCode.disabled_at.is_null())
        .group_by(QrCode.campaign_id)
    )
    return dict(query.tuples())


def get(campaign_id: UUID, code_id: UUID) -> QrCode:
    """Return a code of a campaign.

    Raises:
        NotFound: the campaign has no such code, or the caller may not see it.
    """
    found: QrCode | None = QrCode.get_or_none(QrCode.id == code_id, QrCode.campaign_id == campaign_id)
    if found is None:
        raise NotFound
    return found


def disable(campaign_id: UUID, code_id: UUID) -> QrCode:
    """Refuse the scans of a code from now on. A disabled code keeps the time at which it was disabled.

    Raises:
        NotFound: the campaign has no such code, or the caller may not change it.
    """
    return _set_disabled(campaign_id, code_id, peewee.fn.coalesce(QrCode.disabled_at, now()))


def enable(campaign_id: UUID, code_id: UUID) -> QrCode:
    """Accept the scans of a disabled code again. An enabled code stays as it is.

    Raises:
        NotFound: the campaign has no such code, or the caller may not change it.
    """
    return _set_disabled(campaign_id, code_id, None)


def _set_disabled(campaign_id: UUID, code_id: UUID, at: Any) -> QrCode:
    statement = QrCode.update(disabled_at=at).where(QrCode.id == code_id, QrCode.campaign_id == campaign_id)
    changed: QrCode | None = next(iter(statement.returning(QrCode).execute()), None)
    if changed is None:
        raise NotFound
    return changed


def make_token(code_id: UUID, key_version: int) -> str:
    """Return a code's token: id, key version and signature as base64url without padding (36 characters).

    Raises:
        KeyError: there is no root secret of this version.
    """
    return signed_ids.make(_PURPOSE, code_id, key_version)


def read_token(token: str) -> UUID | None:
    """Return the id of a token's code; None if the signature is wrong or its key is no longer known."""
    return signed_ids.read(_PURPOSE, token)


def token_in(text: str) -> str:
    """Return the token of a code's URL, whatever its host and query; return other texts unchanged.

    Only the token is signed. A URL of another host with a genuine token is worth as much as the token alone.
    """
    found = _URL.fullmatch(text)
    return found[1] if found else text


def url_of(token: str) -> str:
    """Return the URL in the picture of a code: the page that performs the scan."""
    return f"{settings.frontend_url}/s/{token}"
