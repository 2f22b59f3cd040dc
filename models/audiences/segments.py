"""Audiences: a brand's segments, what defines them, and which campaigns they are for."""

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row


class AudienceSegment(Row):
    """A saved segment; `preview` holds the counts that were last made of it."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    name = peewee.TextField()
    preview = peewee.JSONField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Where the table lives."""

        table_name = "audience_segments"


class SegmentQuery(Row):
    """A definition of a segment. A change adds one, so the newest is the one that counts."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()
    query_definition = peewee.JSONField()
    created_at = DateTimeTZField()

    class Meta:
        """Where the table lives."""

        table_name = "segment_queries"


class CampaignAudience(Row):
    """A segment that a campaign is for."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()

    class Meta:
        """Where the table lives."""

        table_name = "campaign_audience"
        primary_key = peewee.CompositeKey("campaign_id", "segment_id")
