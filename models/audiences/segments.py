"""Segments of a brand's audience, their definitions, and the campaigns that address them."""

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row


class AudienceSegment(Row):
    """A saved segment; `preview` holds the counts of the last preview."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    name = peewee.TextField()
    preview = peewee.JSONField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "audience_segments"


class SegmentQuery(Row):
    """A version of a segment's definition; the newest version is in effect."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()
    query_definition = peewee.JSONField()
    created_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "segment_queries"


class CampaignAudience(Row):
    """A segment that a campaign addresses."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()

    class Meta:
        """Name of the table."""

        table_name = "campaign_audience"
        primary_key = peewee.CompositeKey("campaign_id", "segment_id")
