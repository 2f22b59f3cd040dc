"""Campaigns: create, read, replace, archive, and apply the transitions of their status."""

from datetime import datetime
from typing import Annotated, Any, NoReturn
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns import audience, history, reward_stocks
from models.campaigns.config import (
    CONFIGS,
    Config,
    EventConfig,
    LockerConfig,
    canonical,
    load,
    missing_at_launch,
    missing_of_notice,
)
from models.campaigns.history import CampaignVersion
from models.campaigns.statuses import (
    CHANGEABLE,
    TRANSITIONS,
    CampaignStatus,
    IllegalTransition,
    TransitionName,
    refused_changes,
)
from models.core import context
from models.core.database import Row, new_id, now
from models.core.errors import Conflict, FieldError, Invalid, Members, NotFound
from models.core.messages import Message
from models.jobs import ledger
from models.tenants import brands
from models.tenants.brands import BrandArchived
from models.webhooks import outbox
from models.webhooks.events import EventType

ARCHIVABLE: tuple[CampaignStatus, ...] = ("Draft", "Completed")
"""Statuses in which a campaign can be archived; a CHECK constraint says the same."""


class Campaign(Row):
    """A campaign of a brand. PostgreSQL generates `starts_at` and `ends_at` from `config`."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    type = peewee.TextField()
    name = peewee.TextField()
    status = peewee.TextField(default="Draft")
    config = peewee.JSONField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    version = peewee.IntegerField(default=1)
    launch_job_id = peewee.UUIDField(null=True)
    launch_at = DateTimeTZField(null=True)
    launch_failure_reported_at = DateTimeTZField(null=True)
    launched_at = DateTimeTZField(null=True)
    completed_at = DateTimeTZField(null=True)
    archived_at = DateTimeTZField(null=True)
    paused_with_brand = peewee.BooleanField(default=False)
    fingerprint_key_version = peewee.IntegerField(null=True)
    created_by = peewee.UUIDField(null=True)
    starts_at = DateTimeTZField(null=True)
    ends_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "campaigns"


class LaunchInProgressMembers(Members):
    """The running launch job."""

    job_id: Annotated[UUID, msgspec.Meta(description="The launch job: `GET /api/v1/jobs/{job_id}` shows its progress.")]


class LaunchInProgress(Conflict):
    """A launch job of the campaign is running; the campaign can't be changed before it ends."""

    code = "launch_in_progress"
    members = LaunchInProgressMembers


class CampaignCompleted(Conflict):
    """A completed campaign can't be changed."""

    code = "campaign_completed"


class CampaignArchived(Conflict):
    """An archived campaign can't be changed or launched: unarchive it first."""

    code = "campaign_archived"


class FixedSinceLaunchMembers(Members):
    """The fields that can't be changed."""

    fields: Annotated[
        list[str],
        msgspec.Meta(description="Paths of the fields that the request would change.", examples=[["config.timezone"]]),
    ]


class FixedSinceLaunch(Conflict):
    """The change concerns fields that are fixed by the launch; `fields` names them."""

    code = "fixed_since_launch"
    members = FixedSinceLaunchMembers


def get(campaign_id: UUID) -> Campaign:
    """Return a campaign.

    Raises:
        NotFound: there is no such campaign, or the caller may not see it.
    """
    return _first(Campaign.select().where(Campaign.id == campaign_id))


def get_for_update(campaign_id: UUID) -> Campaign:
    """Lock a campaign's row until the transaction ends and return it.

    Raises:
        NotFound: there is no such campaign, or the caller may not change it.
    """
    return _first(Campaign.select().where(Campaign.id == campaign_id).for_update())


def _first(query: Any) -> Campaign:
    found: Campaign | None = next(iter(query), None)
    if found is None:
        raise NotFound
    return found


def create(*, name: str, kind: str, config: Config) -> Campaign:
    """Create a draft campaign in the caller's brand.

    Raises:
        Invalid: the configuration contradicts itself, or names a segment that the brand does not have.
    """
    stored = canonical(config)
    audience.require_segments(config.segment_ids)
    identity, at = context.current(), now()
    assert identity is not None
    campaign = Campaign.create(
        id=new_id(),
        brand_id=identity.brand_id,
        type=kind,
        name=name,
        config=stored,
        created_at=at,
        updated_at=at,
        created_by=identity.user_id,
    )
    audience.replace_segments(campaign.brand_id, campaign.id, config.segment_ids)
    history.record(campaign, [], at=at)
    return campaign


def clone(campaign: Campaign, *, name: str) -> Campaign:
    """Create a draft with the type and rules of a campaign, but without codes, past dates and test mode."""
    config, at = config_of(campaign), now()
    changes: dict[str, Any] = {
        field: None for field in ("starts_at", "ends_at") if _has_passed(getattr(config, field), at)
    }
    changes["test_mode"] = False
    if isinstance(config, EventConfig) and _has_passed(config.event.doors_open_at, at):
        changes["event"] = msgspec.structs.replace(config.event, doors_open_at=None)
    return create(name=name, kind=campaign.type, config=msgspec.structs.replace(config, **changes))


def _has_passed(date: datetime | None, at: datetime) -> bool:
    return date is not None and date <= at


def replace(
    campaign: Campaign, *, name: str, kind: str, config: Config, reverted_to: int | None = None
) -> tuple[Campaign, list[str]]:
    """Replace the name, type and configuration of a campaign that `get_for_update` has locked.

    Returns:
        The campaign, and the paths of the fields that have changed. Without a change the campaign keeps its version.

    Raises:
        Invalid: the configuration contradicts itself, names a segment that the brand does not have, or lacks a member
            that a launched campaign needs.
        LaunchInProgress: a launch job of the campaign is running.
        CampaignArchived: the campaign is archived.
        CampaignCompleted: the campaign is completed.
        FixedSinceLaunch: the campaign is launched, and a field would change that only a draft may change, or test mode
            would be switched on.
        BelowGiven: a reward would have fewer units than are given.
    """
    stored = canonical(config)
    require_editable(campaign)
    before = _fields(campaign.name, campaign.type, _defaults(kind) | msgspec.to_builtins(config_of(campaign)))
    after = _fields(name, kind, _defaults(campaign.type) | stored)
    changed = [field for field in CHANGEABLE if before.get(field) != after.get(field)]
    fixed = refused_changes(changed, campaign.status)
    if config.test_mode and "config.test_mode" in changed and campaign.status != "Draft":
        fixed.append("config.test_mode")
    if fixed:
        raise FixedSinceLaunch(Message("Fixed since the launch: {fields}.", fields=", ".join(fixed)), fields=fixed)
    if campaign.status != "Draft" and (lacking := _lacking(config, changed)):
        raise Invalid(errors=lacking)
    if not changed:
        return campaign, []
    has_new_rewards = "config.rewards" in changed and campaign.status != "Draft"
    if has_new_rewards and isinstance(config, LockerConfig):
        reward_stocks.require_covered(campaign.id, config.rewards)
    if "config.segment_ids" in changed:
        audience.require_segments(config.segment_ids)
        audience.replace_segments(campaign.brand_id, campaign.id, config.segment_ids)
    replaced = update(campaign.id, name=name, type=kind, config=stored)
    if kind == "Event" and campaign.status != "Draft":
        ledger.enqueue("event.publish", campaign.id, unique="while_waiting")
    if has_new_rewards:
        ledger.enqueue("reward.open", campaign.id, unique="while_waiting")
    history.record(replaced, changed, at=replaced.updated_at, reverted_to=reverted_to)
    return replaced, changed


def revert(campaign: Campaign, version: int) -> tuple[Campaign, list[str]]:
    """Replace the contents of a campaign that `get_for_update` has locked with those of an earlier version.

    After the launch, test mode stays as it is.

    Raises:
        NotFound: the history has no such version.
        Problem: as `replace`.
    """
    old = history.get(campaign.id, version)
    config = config_of(old)
    if campaign.status != "Draft":
        config = msgspec.structs.replace(config, test_mode=config_of(campaign).test_mode)
    return replace(campaign, name=old.name, kind=old.type, config=config, reverted_to=version)


def require_editable(campaign: Campaign) -> None:
    """Check that a campaign is neither being launched nor archived nor completed.

    Raises:
        LaunchInProgress: a launch job of the campaign is running.
        CampaignArchived: the campaign is archived.
        CampaignCompleted: the campaign is completed.
    """
    if running_launch(campaign) is not None:
        raise LaunchInProgress(job_id=campaign.launch_job_id)
    if campaign.archived_at is not None:
        raise CampaignArchived
    if campaign.status == "Completed":
        raise CampaignCompleted


def _lacking(config: Config, changed: list[str]) -> list[FieldError]:
    """Return the members that a launched campaign needs. A notice that was withdrawn prevents no other change."""
    uses_other_notice = not {"config.notice_key", "config.consent_tiers"}.isdisjoint(changed)
    return missing_at_launch(config) + (missing_of_notice(config) if uses_other_notice else [])


def _defaults(kind: str) -> dict[str, Any]:
    """Return the default of each member of a type's configuration. Of another type, a member has its default."""
    defaults: dict[str, Any] = msgspec.to_builtins(CONFIGS[kind]())
    return defaults


def _fields(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a campaign's fields by the paths that `CHANGEABLE` uses."""
    return {"name": name, "type": kind, **{f"config.{member}": value for member, value in config.items()}}


def update(campaign_id: UUID, **changes: Any) -> Campaign:
    """Change columns of a campaign and increment its version.

    Raises:
        NotFound: there is no such campaign, or the caller may not change it.
    """
    changes |= {"updated_at": now(), "version": Campaign.version + 1}
    return _first(Campaign.update(**changes).where(Campaign.id == campaign_id).returning(Campaign).execute())


def config_of(stored: Campaign | CampaignVersion) -> Config:
    """Return the configuration of a campaign, or of one of its versions."""
    return load(stored.type, stored.config)


def running_launch(campaign: Campaign) -> UUID | None:
    """Return the id of the campaign's launch job while it is live. A dead job doesn't block a new launch."""
    job_id: UUID | None = campaign.launch_job_id
    return job_id if job_id is not None and ledger.is_live(job_id) else None


def transition(campaign_id: UUID, name: TransitionName, **changes: Any) -> Campaign:
    """Apply one status transition atomically, together with other changes of columns.

    Raises:
        NotFound: the brand has no such campaign.
        IllegalTransition: the current status does not allow it; carries the status and the allowed transitions.
        BrandArchived: the brand is archived, and the transition would make the campaign active.
    """
    rule = TRANSITIONS[name]
    if rule.target == "Active" and not brands.is_live_for_share():
        raise BrandArchived
    changes |= {"status": rule.target, "updated_at": now(), "version": Campaign.version + 1, "paused_with_brand": False}
    if name == "launch":
        changes |= {"launched_at": now(), "launch_job_id": None, "launch_at": None}
    if rule.target == "Completed":
        changes["completed_at"] = now()
    statement = (
        Campaign.update(**changes)
        .where(Campaign.id == campaign_id, Campaign.status.in_(rule.sources))
        .returning(Campaign)
    )
    changed: Campaign | None = next(iter(statement.execute()), None)
    if changed is None:
        _refuse(campaign_id, name)
    announce(rule.event, changed.id, brand_id=changed.brand_id)
    if changed.type == "Event" and changed.status == "Completed":
        ledger.enqueue("event.close", campaign_id)
    return changed


def announce(event: EventType, campaign_id: UUID, *, brand_id: UUID) -> None:
    """Publish a change of a campaign's state to the brand's webhooks."""
    outbox.publish(event, brand_id=brand_id, data={"campaign_id": campaign_id})


def _refuse(campaign_id: UUID, name: TransitionName) -> NoReturn:
    raise IllegalTransition(transition=name, current=get(campaign_id).status)


def archive(campaign: Campaign) -> Campaign:
    """Archive a completed campaign or a draft that `get_for_update` has locked. An archived campaign stays as it is.

    Raises:
        LaunchInProgress: a launch job of the campaign is running.
        IllegalTransition: the campaign is active or paused: complete it first.
    """
    if campaign.archived_at is not None:
        return campaign
    if campaign.status not in ARCHIVABLE:
        raise IllegalTransition(transition="archive", current=campaign.status)
    if running_launch(campaign) is not None:
        raise LaunchInProgress(job_id=campaign.launch_job_id)
    archived = update(campaign.id, archived_at=now(), launch_at=None)
    announce("campaign.archived", archived.id, brand_id=archived.brand_id)
    return archived


def unarchive(campaign: Campaign) -> Campaign:
    """Bring an archived campaign back to the lists. A campaign that is not archived stays as it is."""
    return campaign if campaign.archived_at is None else update(campaign.id, archived_at=None)
