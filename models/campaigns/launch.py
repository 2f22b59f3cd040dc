"""Launch of a campaign: the checks before it, and the steps of the launch job."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from models.audiences import segments
from models.audit import trail
from models.campaigns import campaigns
from models.campaigns.audience import missing_of_segments
from models.campaigns.campaigns import Campaign, CampaignArchived, config_of
from models.campaigns.config import contradictions, missing_at_launch, missing_of_notice
from models.campaigns.statuses import TRANSITIONS, IllegalTransition
from models.core import keys
from models.core.database import now, rows, uuid7_time, value
from models.core.enumerations import enumeration, values_of
from models.core.errors import FieldError, Invalid
from models.jobs.ledger import LIVE_STATES, JobRef, enqueue
from models.notifications.kinds import Kind
from models.notifications.notifications import notify
from models.tenants import brands
from models.tenants.brands import BrandArchived

LaunchStep = Annotated[
    Literal["readiness", "device_key", "audience", "service", "codes", "activation", "overview"],
    enumeration(
        "LaunchStep",
        "Step of a launch, in this order. `readiness`: check that nothing is missing. `device_key`: store the version "
        "of the key that hashes devices. `audience`: store the contacts of its segments as they are now. `service`: "
        "open the campaign at the service of its type. `codes`: create the first code if there is none. `activation`: "
        "make the campaign active and announce it. `overview`: prepare its figures.",
    ),
]
STEPS: tuple[LaunchStep, ...] = values_of(LaunchStep)
"""Steps of the launch job in their order. `jobs.campaigns.actors` has the function of each."""

LaunchState = Annotated[
    Literal["running", "failed"],
    enumeration(
        "LaunchState",
        "State of a launch. `running`: its job waits or runs; it may be repeated after an error. `failed`: its job has "
        "ended without launching the campaign: launch again.",
    ),
]


@dataclass(frozen=True, slots=True)
class Progress:
    """The launch of a draft: its job, and the step that the job has reached."""

    job_id: UUID
    state: LaunchState
    step: LaunchStep
    error: dict[str, Any] | None


class NotReady(Invalid):
    """The campaign can't be launched yet; `errors` names everything that is missing."""

    code = "not_ready"


def start(campaign_id: UUID) -> JobRef:
    """Start the launch job, or return the running one.

    Raises:
        NotFound: the brand has no such campaign.
        IllegalTransition: the campaign is no draft.
        CampaignArchived: the campaign is archived.
        BrandArchived: the brand is archived.
        NotReady: carries everything that is missing.
    """
    campaign, running = draft_for_update(campaign_id)
    if running is not None:
        return JobRef(running, created=False)
    require_ready(campaign, at=now())
    return enqueue_job(campaign_id)


def draft_for_update(campaign_id: UUID) -> tuple[Campaign, UUID | None]:
    """Lock a campaign that can be launched, and return it with its running launch job.

    Raises:
        NotFound: the brand has no such campaign.
        IllegalTransition: the campaign is no draft.
        CampaignArchived: the campaign is archived.
        BrandArchived: the brand is archived.
    """
    brand_is_live = brands.is_live_for_share()
    campaign = campaigns.get_for_update(campaign_id)
    if campaign.status not in TRANSITIONS["launch"].sources:
        raise IllegalTransition(transition="launch", current=campaign.status)
    if campaign.archived_at is not None:
        raise CampaignArchived
    if not brand_is_live:
        raise BrandArchived
    return campaign, campaigns.running_launch(campaign)


def enqueue_job(campaign_id: UUID) -> JobRef:
    """Enqueue the launch job of a draft that is locked. It replaces a failed launch and a scheduled one."""
    job = enqueue("campaign.launch", campaign_id, unique="until_done", subject=("campaign", campaign_id))
    campaigns.update(campaign_id, launch_job_id=job.id, launch_at=None, launch_failure_reported_at=None)
    return job


def check(campaign_id: UUID) -> None:
    """Check a draft again, as the first step of its launch job. A campaign that is no draft has been launched.

    Raises:
        NotFound: there is no such campaign.
        NotReady: carries everything that is missing.
    """
    brand_is_live = brands.is_live_for_share()
    campaign = campaigns.get(campaign_id)
    if campaign.status != "Draft":
        return
    if not brand_is_live:
        raise NotReady("brand", "is archived")
    require_ready(campaign, at=now())


def require_resumable(campaign_id: UUID) -> None:
    """Check that nothing prevents a paused campaign from being active again. Another campaign is not checked.

    Raises:
        NotFound: there is no such campaign.
        NotReady: carries everything that is missing.
    """
    campaign = campaigns.get(campaign_id)
    if campaign.status == "Paused":
        require_ready(campaign, at=now())


def require_ready(campaign: Campaign, *, at: datetime) -> None:
    """Check that a campaign can become active, or active again, at `at`.

    Raises:
        NotReady: carries everything that is missing.
    """
    config = config_of(campaign)
    found = missing(campaign, at) + missing_of_notice(config)
    found += missing_of_segments(campaign.brand_id, config.segment_ids)
    # PostgreSQL computes calendar windows; its list of time zones may be older than Python's.
    if not value("SELECT count(*) FROM pg_timezone_names WHERE name = %s", (campaign.config["timezone"],)):
        found.append(FieldError("config.timezone", "must be a time zone of the database"))
    if found:
        raise NotReady(errors=found)


def missing(campaign: Campaign, at: datetime) -> list[FieldError]:
    """Return the fields that prevent a launch or a resumption at `at`, with their reasons."""
    config = config_of(campaign)
    found = contradictions(config) + missing_at_launch(config)
    if config.ends_at is not None and config.ends_at <= at:
        found.append(FieldError("config.ends_at", "has passed: must be later than now"))
    return found


def pin_fingerprint_key(campaign_id: UUID) -> None:
    """Store the version of the key that hashes the campaign's devices; a stored version stays.

    Hashes of another version would not match: each device would count as new.
    """
    version = keys.active_version()
    Campaign.update(fingerprint_key_version=version).where(
        Campaign.id == campaign_id, Campaign.fingerprint_key_version.is_null()
    ).execute()


def freeze_audience(campaign_id: UUID) -> None:
    """Store the contacts of a draft's segments as its audience. A campaign that is no draft keeps its audience.

    Raises:
        NotFound: there is no such campaign, or a segment has no definition.
        Invalid: the definition of a segment can no longer be evaluated.
    """
    campaign = campaigns.get_for_update(campaign_id)
    if campaign.status == "Draft":
        segments.freeze(campaign.brand_id, campaign_id, config_of(campaign).segment_ids)


def activate(campaign_id: UUID) -> Campaign:
    """Make a draft active. A campaign that is no draft stays as it is.

    Raises:
        NotFound: the brand has no such campaign.
        NotReady: the brand has been archived since the launch was requested.
    """
    brand_is_live = brands.is_live_for_share()
    campaign = campaigns.get_for_update(campaign_id)
    if campaign.status != "Draft":
        return campaign
    if not brand_is_live:
        raise NotReady("brand", "is archived")
    active = campaigns.transition(campaign_id, "launch")
    trail.record(
        "campaign.launched",
        table="campaigns",
        record_id=campaign_id,
        before={"status": campaign.status},
        after={"status": active.status, "fingerprint_key_version": active.fingerprint_key_version},
    )
    _notify("launch_finished", active)
    return active


def _notify(kind: Kind, campaign: Campaign, **values: str) -> None:
    notify(
        kind,
        brand_id=campaign.brand_id,
        subject=("campaign", campaign.id),
        values={"campaign": campaign.name, **values},
        permission="campaigns:read",
    )


def progress_of(found: Iterable[Campaign]) -> dict[UUID, Progress]:
    """Return the launches that run or have failed, by campaign, as far as the caller may see their jobs."""
    campaign_of = {campaign.launch_job_id: campaign.id for campaign in found if campaign.launch_job_id is not None}
    if not campaign_of:
        return {}
    created = [at for job_id in campaign_of if (at := uuid7_time(job_id)) is not None]
    since = min(created, default=now()) - timedelta(days=1)  # the clocks of the database and of this process differ
    return {campaign_of[job["id"]]: _progress(job) for job in rows(_JOBS, (list(campaign_of), since))}


# Partitions of the history of days before the jobs are not read.
_JOBS = """
    SELECT id, state, progress_done, error FROM app.job_status
    WHERE id = ANY (%s::uuid[]) AND (finished_at IS NULL OR finished_at >= %s)
"""


def _progress(job: dict[str, Any]) -> Progress:
    step = STEPS[min(job["progress_done"] or 0, len(STEPS) - 1)]
    return Progress(job["id"], "running" if job["state"] in LIVE_STATES else "failed", step, job["error"])


def report_failure(campaign_id: UUID) -> bool:
    """Record that the launch of a draft has failed, once for each launch job. Return whether it was recorded now."""
    campaign = campaigns.get_for_update(campaign_id)
    is_over = campaign.launch_job_id is not None and campaigns.running_launch(campaign) is None
    if not is_over or campaign.launch_failure_reported_at is not None:
        return False
    Campaign.update(launch_failure_reported_at=now()).where(Campaign.id == campaign_id).execute()
    failed = progress_of([campaign]).get(campaign_id)
    error = (failed and failed.error) or {}
    details = {
        "launch_job_id": campaign.launch_job_id,
        "step": failed and failed.step,
        "error": error.get("code", "failed"),
    }
    trail.record("campaign.launch_failed", table="campaigns", record_id=campaign_id, after=details)
    _notify("launch_failed", campaign, reason=error["message"] if "code" in error else "an unexpected error")
    return True
