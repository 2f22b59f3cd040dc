"""Campaigns: create, read, replace, and the transitions of their status."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.campaigns.config import Config, canonical
from models.core import context
from models.core.database import Row, new_id, now
from models.core.enumerations import enumeration
from models.core.errors import Conflict, Members, NotFound
from models.core.messages import Message
from models.jobs import ledger
from models.tenants import brands
from models.tenants.brands import BrandArchived

CampaignType = Annotated[
    Literal["Locker", "Event", "QR"],
    enumeration(
        "CampaignType",
        "Type of a campaign. `Locker`: a Locker Drop. `Event`: an Event Partnership, which must have an end. `QR`: a "
        "QR activation.",
    ),
]
CampaignStatus = Annotated[
    Literal["Draft", "Active", "Paused", "Completed"],
    enumeration(
        "CampaignStatus",
        "Status of a campaign. `Draft`: not launched; codes can be created, scans are refused. `Active`: scans are "
        "decided. `Paused`: scans are refused with `campaign_not_active`; archiving the brand does this. `Completed`: "
        "ended for ever; it can't be changed.",
    ),
]
"""CHECK constraints list the values of both types; a test compares them."""


class Campaign(Row):
    """A campaign of a brand."""

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
    launched_at = DateTimeTZField(null=True)
    completed_at = DateTimeTZField(null=True)
    fingerprint_key_version = peewee.IntegerField(null=True)
    created_by = peewee.UUIDField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "campaigns"


TransitionName = Annotated[
    Literal["launch", "pause", "resume", "complete"],
    enumeration(
        "CampaignTransition",
        "Change of a campaign's status. `launch`: from `Draft` to `Active`. `pause`: from `Active` to `Paused`. "
        "`resume`: from `Paused` to `Active`. `complete`: from `Active` or `Paused` to `Completed`.",
    ),
]


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of status: allowed from each of `sources`, ends in `target`."""

    sources: tuple[CampaignStatus, ...]
    target: CampaignStatus


TRANSITIONS: dict[TransitionName, Transition] = {
    "launch": Transition(sources=("Draft",), target="Active"),
    "pause": Transition(sources=("Active",), target="Paused"),
    "resume": Transition(sources=("Paused",), target="Active"),
    "complete": Transition(sources=("Active", "Paused"), target="Completed"),
}
"""All transitions. `app.archive_brand` applies `pause` in SQL; a test compares the two."""


class IllegalTransitionMembers(Members):
    """The status of the campaign and the transitions that it allows."""

    current: Annotated[CampaignStatus, msgspec.Meta(description="Present status of the campaign.")]
    allowed: Annotated[
        list[TransitionName], msgspec.Meta(description="Transitions that this status allows; may be empty.")
    ]


class IllegalTransition(Conflict):
    """The campaign's status does not allow the transition. `allowed` names the transitions that it allows."""

    code = "illegal_transition"
    members = IllegalTransitionMembers

    def __init__(self, *, transition: TransitionName, current: str) -> None:
        self.current = current
        self.allowed = [other for other, rule in TRANSITIONS.items() if current in rule.sources]
        detail = Message("{transition}: the campaign is {status}.", transition=transition, status=current)
        super().__init__(detail, current=current, allowed=self.allowed)


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


def find(
    *,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    name: str | None = None,
    status: str | None = None,
    kind: str | None = None,
) -> list[Campaign]:
    """Return campaigns of the caller's brand that the caller may see, newest first.

    Args:
        limit: maximum number of campaigns.
        after: `created_at` and `id` of the last campaign of the previous page.
        name: part of the name, in any case.
        status: only campaigns with this status.
        kind: only campaigns of this type.
    """
    query = Campaign.select().order_by(Campaign.created_at.desc(), Campaign.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Campaign.created_at, Campaign.id) < peewee.Tuple(*after))
    if name is not None:
        query = query.where(peewee.fn.strpos(peewee.fn.lower(Campaign.name), name.lower()) > 0)
    if status is not None:
        query = query.where(Campaign.status == status)
    if kind is not None:
        query = query.where(Campaign.type == kind)
    return list(query)


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
        Invalid: the configuration contradicts itself.
    """
    stored = canonical(config)
    identity, at = context.current(), now()
    assert identity is not None
    return Campaign.create(
        id=new_id(),
        brand_id=identity.brand_id,
        type=kind,
        name=name,
        config=stored,
        created_at=at,
        updated_at=at,
        created_by=identity.user_id,
    )


def replace(campaign: Campaign, *, name: str, kind: str, config: Config) -> Campaign:
    """Replace the name, type and configuration of a campaign that `get_for_update` has locked.

    Raises:
        Invalid: the configuration contradicts itself.
        LaunchInProgress: a launch job of the campaign is running.
        CampaignCompleted: the campaign is completed.
        FixedSinceLaunch: the campaign is launched, and its type or time zone would change.
    """
    stored = canonical(config)
    if running_launch(campaign) is not None:
        raise LaunchInProgress(job_id=campaign.launch_job_id)
    if campaign.status == "Completed":
        raise CampaignCompleted
    if campaign.status != "Draft":
        timezone_changes = campaign.config["timezone"] != config.timezone
        _require_unchanged({"type": campaign.type != kind, "config.timezone": timezone_changes})
    return update(campaign.id, name=name, type=kind, config=stored)


def _require_unchanged(changes: dict[str, bool]) -> None:
    fields = [field for field, changed in changes.items() if changed]
    if fields:
        # Limits count by calendar days of the time zone; another time zone would count the same scans in other days.
        raise FixedSinceLaunch(Message("Fixed since the launch: {fields}.", fields=", ".join(fields)), fields=fields)


def update(campaign_id: UUID, **changes: Any) -> Campaign:
    """Change columns of a campaign and increment its version.

    Raises:
        NotFound: there is no such campaign, or the caller may not change it.
    """
    changes |= {"updated_at": now(), "version": Campaign.version + 1}
    return _first(Campaign.update(**changes).where(Campaign.id == campaign_id).returning(Campaign).execute())


def config_of(campaign: Campaign) -> Config:
    """Return a stored campaign's configuration."""
    return msgspec.convert(campaign.config, Config)


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
    changes |= {"status": rule.target, "updated_at": now(), "version": Campaign.version + 1}
    if rule.target == "Completed":
        changes["completed_at"] = now()
    statement = (
        Campaign.update(**changes)
        .where(Campaign.id == campaign_id, Campaign.status.in_(rule.sources))
        .returning(Campaign)
    )
    changed: Campaign | None = next(iter(statement.execute()), None)
    return changed or _refuse(campaign_id, name)


def _refuse(campaign_id: UUID, name: TransitionName) -> NoReturn:
    raise IllegalTransition(transition=name, current=get(campaign_id).status)
