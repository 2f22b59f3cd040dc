"""Launch of a campaign: the checks before it, and the steps of the launch job."""

from datetime import datetime
from uuid import UUID

from models.audit import trail
from models.campaigns import campaigns
from models.campaigns.campaigns import TRANSITIONS, Campaign, IllegalTransition, config_of
from models.campaigns.config import Config, contradictions
from models.consents import notices
from models.core import keys
from models.core.database import now, value
from models.core.errors import FieldError, Invalid
from models.jobs.ledger import JobRef, enqueue
from models.tenants import brands
from models.tenants.brands import BrandArchived


class NotReady(Invalid):
    """The campaign can't be launched yet; `errors` names everything that is missing."""

    code = "not_ready"


def start(campaign_id: UUID) -> JobRef:
    """Start the launch job, or return the running one.

    Raises:
        NotFound: the brand has no such campaign.
        IllegalTransition: the campaign is no draft.
        BrandArchived: the brand is archived.
        NotReady: carries everything that is missing.
    """
    brand_is_live = brands.is_live_for_share()
    campaign = campaigns.get_for_update(campaign_id)
    if (running := campaigns.running_launch(campaign)) is not None:
        return JobRef(running, created=False)
    if campaign.status not in TRANSITIONS["launch"].sources:
        raise IllegalTransition(transition="launch", current=campaign.status)
    if not brand_is_live:
        raise BrandArchived
    require_ready(campaign)
    job = enqueue("campaign.launch", campaign_id, unique="until_done", subject=("campaign", campaign_id))
    campaigns.update(campaign_id, launch_job_id=job.id)
    return job


def require_ready(campaign: Campaign) -> None:
    """Check that a campaign can become active now.

    Raises:
        NotReady: carries everything that is missing.
    """
    found = missing(campaign, now()) + _missing_of_notice(config_of(campaign))
    # PostgreSQL computes calendar windows; its list of time zones may be older than Python's.
    if not value("SELECT count(*) FROM pg_timezone_names WHERE name = %s", (campaign.config["timezone"],)):
        found.append(FieldError("config.timezone", "must be a time zone of the database"))
    if found:
        raise NotReady(errors=found)


def _missing_of_notice(config: Config) -> list[FieldError]:
    notice = notices.in_force(config.notice_key, ["en"])
    if notice is None:
        return [FieldError("config.notice_key", "must be the key of a notice in force")]
    if not set(config.consent_tiers) <= set(notice.tiers):
        return [FieldError("config.consent_tiers", "must be tiers of the notice of `config.notice_key`")]
    return []


def missing(campaign: Campaign, at: datetime) -> list[FieldError]:
    """Return the fields that prevent a launch at `at`, with their reasons."""
    config = config_of(campaign)
    found = contradictions(config)
    if config.ends_at is not None and config.ends_at <= at:
        found.append(FieldError("config.ends_at", "has passed: must be later than now"))
    if campaign.type == "Event" and config.ends_at is None:
        found.append(FieldError("config.ends_at", "must be set for an event"))
    return found


def pin_fingerprint_key(campaign_id: UUID) -> None:
    """Store the version of the key that hashes the campaign's devices; a stored version stays.

    Hashes of another version would not match: each device would count as new.
    """
    version = keys.active_version()
    Campaign.update(fingerprint_key_version=version).where(
        Campaign.id == campaign_id, Campaign.fingerprint_key_version.is_null()
    ).execute()


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
    active = campaigns.transition(campaign_id, "launch", launched_at=now(), launch_job_id=None)
    trail.record(
        "campaign.launched",
        table="campaigns",
        record_id=campaign_id,
        before={"status": campaign.status},
        after={"status": active.status, "fingerprint_key_version": active.fingerprint_key_version},
    )
    return active
