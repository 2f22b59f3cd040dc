"""Campaigns: what a brand runs, what its scans are held against, and the moves of its life."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audit import trail
from models.campaigns.codes import QrCode
from models.campaigns.config import Config, Geofence, ScanLimit, Share, canonical, contradictions
from models.consents import consents
from models.core import context, keys
from models.core.database import Row, new_id, now, value
from models.core.errors import Conflict, Invalid, NotFound
from models.jobs.ledger import JobRef, enqueue
from models.tenants import brands
from models.tenants.invitations import BrandArchived

__all__ = ["Config", "Geofence", "ScanLimit", "Share"]

FIRST_LABEL = "default"
"""Of the code that a campaign gets at its launch if it has none."""

Kind = Literal["Locker", "Event", "QR"]
Status = Literal["Draft", "Active", "Paused", "Completed"]


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
        """Where the table lives."""

        table_name = "campaigns"


@dataclass(frozen=True, slots=True)
class Move:
    """A step in a campaign's life: from any of the statuses `frm` to the status `to`."""

    frm: tuple[str, ...]
    to: str


MOVES = {
    "launch": Move(("Draft",), "Active"),
    "pause": Move(("Active",), "Paused"),
    "resume": Move(("Paused",), "Active"),
    "complete": Move(("Active", "Paused"), "Completed"),
}


class IllegalMove(Conflict):
    """The campaign's status doesn't allow the move; `allowed` are those that it does."""

    code = "illegal_move"

    def __init__(self, name: str, current: str) -> None:
        self.current = current
        self.allowed = [move for move, step in MOVES.items() if current in step.frm]
        super().__init__(f"{name}: the campaign is {current}.", current=current, allowed=self.allowed)


class LaunchInProgress(Conflict):
    """The campaign is being launched, so it must not change under the launch."""

    code = "launch_in_progress"


class CampaignCompleted(Conflict):
    """A completed campaign stays as it was."""

    code = "campaign_completed"


class FixedSinceLaunch(Conflict):
    """What scans have been counted by doesn't change any more; `fields` names it."""

    code = "fixed_since_launch"


class LabelTaken(Conflict):
    """Codes of a campaign are told apart by their labels."""

    code = "label_taken"


class NotReady(Invalid):
    """Something is missing before the campaign can be launched; `errors` names all of it."""

    code = "not_ready"


def matching(
    *, limit: int, after: tuple[datetime, UUID] | None = None, status: str | None = None, kind: str | None = None
) -> list[Campaign]:
    """Up to `limit` campaigns of the caller's brand, newest first, that come after the key `after`."""
    query = Campaign.select().order_by(Campaign.created_at.desc(), Campaign.id.desc()).limit(limit)
    if after is not None:
        query = query.where(peewee.Tuple(Campaign.created_at, Campaign.id) < peewee.Tuple(*after))
    if status is not None:
        query = query.where(Campaign.status == status)
    if kind is not None:
        query = query.where(Campaign.type == kind)
    return list(query)


def get(campaign_id: UUID) -> Campaign:
    """A campaign that the caller may see.

    Raises:
        NotFound: there is none of that id.
    """
    return _found(Campaign.select().where(Campaign.id == campaign_id))


def lock(campaign_id: UUID) -> Campaign:
    """The same, and nobody else changes it before this transaction ends.

    Raises:
        NotFound: there is none of that id, or the caller may not change it.
    """
    return _found(Campaign.select().where(Campaign.id == campaign_id).for_update())


def _found(query: Any) -> Campaign:
    found: Campaign | None = next(iter(query), None)
    if found is None:
        raise NotFound
    return found


def create(*, name: str, kind: str, config: Config) -> Campaign:
    """Make a draft in the caller's brand.

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
    """Replace what a brand can change of a campaign that the caller has locked.

    Raises:
        Invalid: the configuration contradicts itself.
        LaunchInProgress: it is being launched.
        CampaignCompleted: it is over.
        FixedSinceLaunch: its type or time zone would change, and it has been launched.
    """
    stored = canonical(config)
    if launch_under_way(campaign) is not None:
        raise LaunchInProgress(job_id=campaign.launch_job_id)
    if campaign.status == "Completed":
        raise CampaignCompleted
    if campaign.status != "Draft":
        timezone_changes = campaign.config["timezone"] != config.timezone
        _refuse_fixed({"type": campaign.type != kind, "config.timezone": timezone_changes})
    return _changed(campaign.id, name=name, type=kind, config=stored)


def _refuse_fixed(changes: dict[str, bool]) -> None:
    fields = [field for field, changed in changes.items() if changed]
    if fields:
        # Limits are counted by calendar days of the time zone: in another one, shares would be given out twice.
        raise FixedSinceLaunch(f"Fixed since the launch: {', '.join(fields)}.", fields=fields)


def _changed(campaign_id: UUID, **changes: Any) -> Campaign:
    changes |= {"updated_at": now(), "version": Campaign.version + 1}
    return _found(Campaign.update(**changes).where(Campaign.id == campaign_id).returning(Campaign).execute())


def config_of(campaign: Campaign) -> Config:
    """A stored campaign's configuration."""
    return msgspec.convert(campaign.config, Config)


def launch_under_way(campaign: Campaign) -> UUID | None:
    """The launch job that is not over yet, if there is one; a dead one stands in nobody's way."""
    if campaign.launch_job_id is None:
        return None
    under_way: UUID | None = value("SELECT id FROM app.jobs WHERE id = %s", (campaign.launch_job_id,))
    return under_way


def launch(campaign_id: UUID) -> JobRef:
    """Start the launch, or return the one that is under way.

    Raises:
        NotFound: no such campaign in this brand.
        IllegalMove: it is no draft.
        BrandArchived: nothing goes live in an archived brand.
        NotReady: carries everything that is missing, at once.
    """
    brand_is_live = brands.hold()
    campaign = lock(campaign_id)
    if (under_way := launch_under_way(campaign)) is not None:
        return JobRef(under_way, created=False)
    if campaign.status not in MOVES["launch"].frm:
        raise IllegalMove("launch", campaign.status)
    if not brand_is_live:
        raise BrandArchived
    require_ready(campaign)
    job = enqueue("campaign.launch", campaign_id, unique="until_done", subject=("campaign", campaign_id))
    _changed(campaign_id, launch_job_id=job.id)
    return job


def require_ready(campaign: Campaign) -> None:
    """Check that a campaign could go live now.

    Raises:
        NotReady: carries everything that is missing, at once.
    """
    found = missing(campaign, now()) + _missing_of_notice(config_of(campaign))
    # Calendar windows are cut by PostgreSQL, whose list of time zones may be older than ours.
    if not value("SELECT count(*) FROM pg_timezone_names WHERE name = %s", (campaign.config["timezone"],)):
        found.append(("config.timezone", "not known to the database"))
    if found:
        raise NotReady(errors=[{"field": field, "reason": reason} for field, reason in found])


def _missing_of_notice(config: Config) -> list[tuple[str, str]]:
    notice = consents.Notice.get_or_none(consents.Notice.id == consents.notice_in_force(config.notice_key, ["en"]))
    if notice is None:
        return [("config.notice_key", "no notice of this key is in force")]
    if not set(config.consent_tiers) <= set(notice.tiers):
        return [("config.consent_tiers", "not all of them are in the notice of config.notice_key")]
    return []


def missing(campaign: Campaign, at: datetime) -> list[tuple[str, str]]:
    """What keeps a campaign from going live at `at`, as (field, reason)."""
    config = config_of(campaign)
    found = [(f"config.{field}", reason) for field, reason in contradictions(config)]
    if config.ends_at is not None and config.ends_at <= at:
        found.append(("config.ends_at", "has passed"))
    if campaign.type == "Event" and config.ends_at is None:
        found.append(("config.ends_at", "an event needs an end"))
    return found


def move(campaign_id: UUID, name: str, **changes: Any) -> Campaign:
    """Take a campaign through one move, atomically, and change what goes with it.

    Raises:
        NotFound: no such campaign in this brand.
        IllegalMove: its status doesn't allow the move; carries the status and the moves that it does allow.
        BrandArchived: nothing goes live in an archived brand.
    """
    allowed = MOVES[name]
    if allowed.to == "Active" and not brands.hold():
        raise BrandArchived
    changes |= {"status": allowed.to, "updated_at": now(), "version": Campaign.version + 1}
    if allowed.to == "Completed":
        changes["completed_at"] = now()
    update = (
        Campaign.update(**changes)
        .where(Campaign.id == campaign_id, Campaign.status.in_(allowed.frm))
        .returning(Campaign)
    )
    moved: Campaign | None = next(iter(update.execute()), None)
    return moved or _refuse(campaign_id, name)


def _refuse(campaign_id: UUID, name: str) -> NoReturn:
    raise IllegalMove(name, get(campaign_id).status)


def pin_fingerprint_key(campaign_id: UUID) -> None:
    """Have a campaign hash its devices with today's key for its whole life, so that a device stays the same device."""
    version = keys.active_version()
    Campaign.update(fingerprint_key_version=version).where(
        Campaign.id == campaign_id, Campaign.fingerprint_key_version.is_null()
    ).execute()


def activate(campaign_id: UUID) -> Campaign:
    """Take a draft live. Once it has been, this changes nothing.

    Raises:
        NotFound: no such campaign in this brand.
        NotReady: the brand has been archived since the launch was asked for.
    """
    brand_is_live = brands.hold()
    campaign = lock(campaign_id)
    if campaign.status != "Draft":
        return campaign
    if not brand_is_live:
        raise NotReady("brand", "is archived")
    live = move(campaign_id, "launch", launched_at=now(), launch_job_id=None)
    trail.record(
        "campaign.launched",
        table="campaigns",
        record_id=campaign_id,
        before={"status": campaign.status},
        after={"status": live.status, "fingerprint_key_version": live.fingerprint_key_version},
    )
    return live


def add_code(campaign_id: UUID, label: str) -> QrCode:
    """Make a code for a campaign.

    Raises:
        NotFound: no such campaign in this brand.
        CampaignCompleted: it is over.
        LabelTaken: it has a code of that label.
    """
    campaign = get(campaign_id)
    if campaign.status == "Completed":
        raise CampaignCompleted
    return _insert_code(campaign, label) or _refuse_label(label)


def _insert_code(campaign: Campaign, label: str) -> QrCode | None:
    insert = QrCode.insert(
        id=new_id(),
        brand_id=campaign.brand_id,
        campaign_id=campaign.id,
        label=label,
        key_version=keys.active_version(),
        created_at=now(),
    )
    taken = (QrCode.brand_id, QrCode.campaign_id, QrCode.label)
    return next(iter(insert.on_conflict(conflict_target=taken, action="IGNORE").returning(QrCode).execute()), None)


def _refuse_label(label: str) -> NoReturn:
    raise LabelTaken(f"There is a code {label!r} already.", label=label)


def ensure_code(campaign_id: UUID) -> None:
    """Give a campaign its first code, unless it has one."""
    if not codes_of(campaign_id, limit=1):
        _insert_code(get(campaign_id), FIRST_LABEL)


def codes_of(campaign_id: UUID, *, limit: int, after: UUID | None = None) -> list[QrCode]:
    """Up to `limit` codes of a campaign, oldest first, that come after the one with the id `after`."""
    query = QrCode.select().where(QrCode.campaign_id == campaign_id).order_by(QrCode.id).limit(limit)
    return list(query if after is None else query.where(QrCode.id > after))


def code(campaign_id: UUID, code_id: UUID) -> QrCode:
    """A code of a campaign.

    Raises:
        NotFound: the campaign has none of that id, or the caller may not know of it.
    """
    found: QrCode | None = QrCode.get_or_none(QrCode.id == code_id, QrCode.campaign_id == campaign_id)
    if found is None:
        raise NotFound
    return found
