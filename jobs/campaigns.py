"""Actors of the domain campaigns: the launch."""

from collections.abc import Callable
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from models.campaigns import campaigns, codes, launch
from models.insights import overview

Step = tuple[str, Callable[[UUID], object]]


def _check(campaign_id: UUID) -> None:
    campaign = campaigns.get(campaign_id)
    # A resumed launch of an active campaign has nothing left to check.
    if campaign.status == "Draft":
        launch.require_ready(campaign)


STEPS: list[Step] = [
    ("checking readiness", _check),
    ("pinning the key of its devices", launch.pin_fingerprint_key),
    ("creating its first code", codes.ensure_first),
    ("activating", launch.activate),
    ("preparing its overview", lambda campaign_id: overview.refresh(campaign_id, None)),
]
"""Steps of the launch. Each step commits by itself and may be repeated, so an interrupted launch resumes."""


# `outward` because the job holds no transaction as a whole: its steps commit, and are visible, one by one.
@actor("campaign.launch", runs_as="brand", max_attempts=5, time_limit=60.0, outward=True)
def launch_campaign(campaign_id: UUID) -> None:
    """Launch a campaign step by step."""
    job = current_job()
    for number, (message, step) in enumerate(STEPS):
        job.progress(number, len(STEPS), message)
        with own_transaction():
            step(campaign_id)
    job.progress(len(STEPS), len(STEPS), "active")
