"""Actors of the domain campaigns: the launch, its schedule, and the end."""

from collections.abc import Callable
from uuid import UUID

from jobs.campaigns import venues as venues  # declares its actors
from jobs.campaigns.events import publish_event
from jobs.campaigns.rewards import open_inventory
from jobs.engine import actor, current_job, own_transaction
from jobs.passport.services.coliseum import coliseum
from jobs.passport.services.coliseum.contract import OpenCampaign
from models.campaigns import campaigns, codes, history, launch, schedule
from models.campaigns.statuses import TRANSITIONS, TransitionName
from models.insights import overview

Step = Callable[[UUID], object]


def _committing(step: Step) -> Step:
    def run(campaign_id: UUID) -> None:
        with own_transaction():
            step(campaign_id)

    return run


def _open_at_coliseum(campaign_id: UUID) -> None:
    coliseum().open(OpenCampaign(campaign_id), key=f"open-{campaign_id}")


OPENERS: dict[str, Step] = {"Locker": open_inventory, "Event": publish_event, "QR": _open_at_coliseum}
"""The call that opens a campaign at the service of its type."""


def _open_service(campaign_id: UUID) -> None:
    with own_transaction():
        campaign = campaigns.get(campaign_id)
    # The activation changes the version, and with it the idempotency key: a resumed launch would open it twice.
    if campaign.status == "Draft" and campaign.type in OPENERS:
        OPENERS[campaign.type](campaign_id)


STEPS: dict[launch.LaunchStep, tuple[str, Step]] = {
    "readiness": ("checking readiness", _committing(launch.check)),
    "device_key": ("pinning the key of its devices", _committing(launch.pin_fingerprint_key)),
    "audience": ("storing its audience", _committing(launch.freeze_audience)),
    "service": ("opening it at its service", _open_service),
    "codes": ("creating its first code", _committing(codes.ensure_first)),
    "activation": ("activating", _committing(launch.activate)),
    "overview": ("preparing its overview", _committing(lambda campaign_id: overview.refresh(campaign_id, None))),
}
"""Message and function of each step. Each may be repeated, so an interrupted launch resumes at the step it was in."""


# `outward` because a step calls a service, and because each step commits, and is visible, by itself.
@actor("campaign.launch", runs_as="brand", max_attempts=5, time_limit=60.0, outward=True)
def launch_campaign(campaign_id: UUID) -> None:
    """Launch a campaign step by step."""
    job = current_job()
    for number, name in enumerate(launch.STEPS):
        message, step = STEPS[name]
        job.progress(number, len(STEPS), message)
        step(campaign_id)
    job.progress(len(STEPS), len(STEPS), "active")


@actor("campaigns.announce", runs_as="brand")
def announce_transitions(campaign_ids: list[UUID], name: TransitionName) -> None:
    """Announce transitions that archiving or restoring the brand has applied."""
    for campaign_id in campaign_ids:
        campaign = campaigns.get(campaign_id)
        campaigns.announce(TRANSITIONS[name].event, campaign_id, brand_id=campaign.brand_id)


@actor("campaigns.sweep", runs_as="system")
def sweep_campaigns() -> None:
    """Enqueue the jobs of campaigns whose launch or end is due, and of launches that have failed."""
    schedule.sweep()


@actor("campaign.start_scheduled", runs_as="brand")
def start_scheduled_launch(campaign_id: UUID) -> None:
    """Start the launch of a draft at its scheduled time."""
    schedule.start_launch(campaign_id)


@actor("campaign.end", runs_as="brand")
def end_campaign(campaign_id: UUID) -> None:
    """Complete a campaign at its end."""
    schedule.end(campaign_id)


@actor("campaign.report_failed_launch", runs_as="brand")
def report_failed_launch(campaign_id: UUID) -> None:
    """Record a launch that has failed for good."""
    launch.report_failure(campaign_id)


@actor("campaigns.prune_versions", runs_as="system", time_limit=300.0)
def prune_versions() -> None:
    """Delete old versions of campaigns with a very long history."""
    history.prune()
