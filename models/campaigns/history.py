"""History of a campaign's configuration: one row for each change of its name, type or rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.core import context
from models.core.database import Row, execute
from models.core.errors import NotFound

KEPT = 1_000
"""Versions of a campaign that are kept; `prune` deletes older ones."""


class CampaignVersion(Row):
    """The name, type and configuration of a campaign after a change."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    version = peewee.IntegerField()
    type = peewee.TextField()
    name = peewee.TextField()
    config = peewee.JSONField()
    changed = ArrayField(peewee.TextField, index=False)  # type: ignore[no-untyped-call]
    reverted_to = peewee.IntegerField(null=True)
    created_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Name and key of the table."""

        table_name = "campaign_versions"
        primary_key = peewee.CompositeKey("brand_id", "campaign_id", "version")


def record(campaign: Any, changed: Sequence[str], *, at: datetime, reverted_to: int | None = None) -> None:
    """Add the present contents of a campaign (a row of `campaigns`) to its history.

    Args:
        campaign: the campaign after the change.
        changed: paths of the fields that the change concerns, such as `config.geofence`.
        at: time of the change.
        reverted_to: the version whose contents the change has restored.
    """
    identity = context.current()
    assert identity is not None
    CampaignVersion.insert(
        brand_id=campaign.brand_id,
        campaign_id=campaign.id,
        version=campaign.version,
        type=campaign.type,
        name=campaign.name,
        config=campaign.config,
        changed=list(changed),
        reverted_to=reverted_to,
        created_by=identity.user_id,
        created_at=at,
    ).execute()


def find(campaign_id: UUID, *, limit: int, before: int | None = None) -> list[CampaignVersion]:
    """Return up to `limit` versions of a campaign, newest first, that are older than the version `before`."""
    query = CampaignVersion.select().where(CampaignVersion.campaign_id == campaign_id)
    if before is not None:
        query = query.where(CampaignVersion.version < before)
    return list(query.order_by(CampaignVersion.version.desc()).limit(limit))


def get(campaign_id: UUID, version: int) -> CampaignVersion:
    """Return the version of a campaign that a change of this number made.

    Raises:
        NotFound: no change of the campaign has this number, or the caller may not see the campaign.
    """
    found: CampaignVersion | None = CampaignVersion.get_or_none(
        CampaignVersion.campaign_id == campaign_id, CampaignVersion.version == version
    )
    if found is None:
        raise NotFound
    return found


def prune(kept: int = KEPT) -> int:
    """Delete the oldest versions of the campaigns that have more than `kept`. Return the number of deleted rows."""
    return execute(_PRUNE, (kept,))


_PRUNE = """
    DELETE FROM public.campaign_versions v USING (
        SELECT brand_id, campaign_id, version,
            row_number() OVER (PARTITION BY brand_id, campaign_id ORDER BY version DESC) AS place
        FROM public.campaign_versions
    ) old
    WHERE old.place > %s AND v.brand_id = old.brand_id AND v.campaign_id = old.campaign_id AND v.version = old.version
"""
