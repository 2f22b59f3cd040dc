"""What becomes of campaigns."""

from collections.abc import Callable
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from models.campaigns import campaigns
from models.insights import overview

Step = tuple[str, Callable[[UUID], object]]


def _check(campaign_id: UUID) -> None:
    campaign = campaigns.get(campaign_id)
    # Once it is live, a launch that goes on has nothing left to check.
    if campaign.status == "Draft":
        campaigns.require_ready(campaign)


STEPS: list[Step] = [
    ("checking that it is ready", _check),
    ("pinning the key of its devices", campaigns.pin_fingerprint_key),
    ("making its first code", campaigns.ensure_code),
    ("going live", campaigns.activate),
    ("preparing its overview", lambda campaign_id: overview.refresh(campaign_id, None)),
]
"""The launch. Each step commits by itself and may be repeated, so a launch that broke goes on where it was."""


# Outward only in that it holds no transaction as a whole: its steps are seen, and stay, while it goes on.
@actor("campaign.launch", runs_as="brand", max_attempts=5, time_limit=60.0, outward=True)
def launch_campaign(campaign_id: UUID) -> None:
    """Take a campaign live, step by step."""
    job = current_job()
    for number, (message, step) in enumerate(STEPS):
        job.progress(number, len(STEPS), message)
        with own_transaction():
            step(campaign_id)
    job.progress(len(STEPS), len(STEPS), "live")
