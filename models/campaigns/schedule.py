"""Scheduled launch and end of campaigns. The job `campaigns.sweep` finds the due ones, once per minute."""

from datetime import datetime
from uuid import UUID

from models.audit import trail
from models.campaigns import campaigns, launch
from models.campaigns.campaigns import Campaign, LaunchInProgress
from models.campaigns.config import LATEST
from models.campaigns.statuses import TRANSITIONS
from models.core.database import now, rows
from models.core.errors import Invalid
from models.core.messages import Message
from models.jobs.ledger import JobRef, enqueue

AT_ONCE = 1_000
"""Maximum number of campaigns of each kind that one sweep handles; the next one continues."""


def set_launch(campaign_id: UUID, at: datetime) -> Campaign:
    """Set the time at which a job launches a draft. A new time replaces the one before.

    Raises:
        NotFound: the brand has no such campaign.
        IllegalTransition: the campaign is no draft.
        CampaignArchived: the campaign is archived.
        BrandArchived: the brand is archived.
        LaunchInProgress: the launch has begun.
        Invalid: the time has passed, or is out of range.
        NotReady: carries everything that would be missing at that time.
    """
    campaign, running = launch.draft_for_update(campaign_id)
    if running is not None:
        raise LaunchInProgress(job_id=running)
    if not now() < at < LATEST:
        raise Invalid("launch_at", Message("must be later than now and before {last}", last=LATEST.year))
    launch.require_ready(campaign, at=at)
    return campaigns.update(campaign_id, launch_at=at)


def remove_launch(campaign: Campaign) -> Campaign:
    """Remove the scheduled launch of a locked campaign. A campaign without one stays as it is."""
    return campaign if campaign.launch_at is None else campaigns.update(campaign.id, launch_at=None)


def sweep() -> None:
    """Enqueue a job for each campaign whose launch or end is due, and for each failed launch without a report."""
    for due in rows(_ENDED, (AT_ONCE,)):
        enqueue("campaign.end", due["id"], brand_id=due["brand_id"], unique="until_done")
    for due in rows(_SCHEDULED, (AT_ONCE,)):
        enqueue("campaign.start_scheduled", due["id"], brand_id=due["brand_id"], unique="until_done")
    for due in rows(_FAILED, (AT_ONCE,)):
        enqueue("campaign.report_failed_launch", due["id"], brand_id=due["brand_id"], unique="until_done")


# Each query has a partial index.
_ENDED = """
    SELECT id, brand_id FROM public.campaigns
    WHERE status IN ('Active', 'Paused') AND ends_at <= now() ORDER BY ends_at LIMIT %s
"""
_SCHEDULED = """
    SELECT id, brand_id FROM public.campaigns
    WHERE launch_at IS NOT NULL AND launch_at <= now() ORDER BY launch_at LIMIT %s
"""
_FAILED = """
    SELECT id, brand_id FROM public.campaigns c
    WHERE launch_job_id IS NOT NULL AND launch_failure_reported_at IS NULL
        AND NOT EXISTS (SELECT FROM app.jobs j WHERE j.id = c.launch_job_id) LIMIT %s
"""


def start_launch(campaign_id: UUID) -> JobRef | None:
    """Start the launch job of a draft whose time has come. Return None if there is nothing to start.

    The launch job itself finds what is missing: the campaign then shows a failed launch.
    """
    campaign = campaigns.get_for_update(campaign_id)
    if campaign.launch_at is None or campaign.launch_at > now() or campaigns.running_launch(campaign) is not None:
        return None
    return launch.enqueue_job(campaign_id)


def end(campaign_id: UUID) -> Campaign:
    """Complete a campaign whose end has passed. Another campaign stays as it is."""
    campaign = campaigns.get_for_update(campaign_id)
    is_over = campaign.ends_at is not None and campaign.ends_at <= now()
    if not is_over or campaign.status not in TRANSITIONS["complete"].sources:
        return campaign
    completed = campaigns.transition(campaign_id, "complete")
    before, after = {"status": campaign.status}, {"status": completed.status, "ends_at": campaign.ends_at}
    trail.record("campaign.completed", table="campaigns", record_id=campaign_id, before=before, after=after)
    return completed
