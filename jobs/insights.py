"""Keeping the overview's counts exact."""

from datetime import datetime
from uuid import UUID

from jobs.engine import actor
from models.insights import overview


@actor("overview.refresh", runs_as="brand", time_limit=60.0)
def refresh_overview(campaign_id: UUID, hour: datetime | None) -> None:
    """Count an hour of a campaign's scans anew; null: all of its hours."""
    overview.refresh(campaign_id, hour)
