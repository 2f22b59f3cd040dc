"""Actors of the domain insights."""

from datetime import datetime
from uuid import UUID

from jobs.engine import actor
from models.insights import overview
from models.scans import limit_counters


@actor("overview.refresh", runs_as="brand", time_limit=60.0)
def refresh_overview(campaign_id: UUID, hour: datetime | None) -> None:
    """Recompute a campaign's rollups for one hour, or all hours (null). Announce a limit that is nearly used up."""
    overview.refresh(campaign_id, hour)
    limit_counters.notify_if_near(campaign_id)
