"""Rewards that scans have earned: their states, and the operations that bring Locker and the rows into agreement.

A scan earns a reward, or a reservation while it is reviewed, or none. `next_step` compares that with the row and names
the next operation at Locker. The actor `reward.settle` performs it, stores the answer, and repeats until nothing is
left to do. So the order of events and the number of repetitions don't matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences import engagement_events
from models.audiences.engagement_events import EngagementKind
from models.audit import trail
from models.campaigns import reward_stocks
from models.core import context
from models.core.database import Row, now
from models.core.enumerations import enumeration
from models.jobs.ledger import enqueue
from models.webhooks import outbox
from models.webhooks.events import EventType

RewardState = Annotated[
    Literal["reserved", "granted", "claimed", "redeemed", "suspended", "released", "lost"],
    enumeration(
        "RewardState",
        "State of a reward. `reserved`: its scan is being checked. `granted`: the fan can claim it. `claimed`: the fan "
        "has asked for a code. `redeemed`: handed over. `suspended`: the scan is in doubt; the reward is kept, and its "
        "code is refused. `released`: withdrawn. `lost`: handed over for a scan that was rejected afterwards.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

Earned = Literal["reward", "reservation", "nothing"]
"""Present claim of a scan to a reward."""
Call = Literal["reserve", "extend", "grant", "claim", "suspend", "reinstate", "release"]
"""Operations at Locker."""
Operation = Literal[Call, "lose", "recover"]
"""Operations on a reward. `lose` and `recover` concern its row only: Locker keeps a redeemed reward as it is."""

HOLD = timedelta(days=1)
"""Time for which a unit is reserved. A reservation in review is extended when half of it is over."""
REVIEW_PERIOD = timedelta(days=30)
"""Time after which a reservation is no longer extended, although its scan is still in review."""
SUSPENSION = timedelta(hours=1)
"""Time for which a reward of a rejected scan keeps its unit, so that it can be reinstated."""

MARGIN = timedelta(seconds=5)
"""Delay of a job behind the time that it waits for, because the clocks of processes differ."""
REFRESH_DELAY = timedelta(seconds=1)
"""Delay of a refresh of the stock, so that it includes other changes of the campaign."""

_IN_DOUBT: Mapping[str, Operation] = {"granted": "suspend", "claimed": "suspend"}
STEPS: Mapping[Earned, Mapping[str, Operation]] = {
    "reward": {
        "released": "reserve",
        "reserved": "grant",
        "suspended": "reinstate",
        "lost": "recover",
    },
    "reservation": {"released": "reserve", "reserved": "extend", "lost": "recover", **_IN_DOUBT},
    "nothing": {"reserved": "release", "suspended": "release", "redeemed": "lose", **_IN_DOUBT},
}
"""The next operation by what the scan has earned and the state of the reward. A missing row counts as `released`."""

EVENTS: Mapping[str, tuple[EngagementKind, ...]] = {
    "granted": ("reward_granted",),
    "claimed": ("reward_granted", "reward_claimed"),
    "redeemed": ("reward_granted", "reward_claimed", "reward_redeemed"),
}
"""Engagement events that count in a state; those of other states are reversed."""

WEBHOOKS: Mapping[EngagementKind, EventType] = {
    "reward_granted": "reward.granted",
    "reward_claimed": "reward.claimed",
    "reward_redeemed": "reward.redeemed",
}
"""The event for the brand's programs, by the engagement event that it goes with."""

STATES_AT_LOCKER: Mapping[str, RewardState] = {
    "already_redeemed": "redeemed",
    "reservation_suspended": "suspended",
    "not_granted": "reserved",
    "reservation_expired": "released",
    "unknown_reservation": "released",
}
"""The state at Locker that a refused operation reveals, by the code of the refusal."""


class Reward(Row):
    """A reward of a fan. Its id is the id of the scan that has earned it."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    reward_key = peewee.TextField()
    name = peewee.TextField()
    campaign_name = peewee.TextField()
    state = peewee.TextField()
    revision = peewee.IntegerField(default=1)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    expires_at = DateTimeTZField(null=True)
    suspended_at = DateTimeTZField(null=True)
    granted_at = DateTimeTZField(null=True)
    claimed_at = DateTimeTZField(null=True)
    redeemed_at = DateTimeTZField(null=True)
    code_hash = peewee.BlobField(null=True)
    code_expires_at = DateTimeTZField(null=True)
    redemption_job_id = peewee.UUIDField(null=True)
    redeemed_by = peewee.UUIDField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "rewards"


@dataclass(frozen=True, slots=True)
class Standing:
    """Present claim of a scan to a reward."""

    scan_id: UUID
    campaign_id: UUID
    user_id: UUID
    campaign_name: str
    earned: Earned


@dataclass(frozen=True, slots=True)
class Step:
    """The next operation on a reward, and the revision of the row that it was decided on (0: no row)."""

    standing: Standing
    operation: Operation
    revision: int


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation as Locker has answered."""

    state: RewardState
    reward_key: str
    name: str
    expires_at: datetime | None


def next_step(standing: Standing) -> Step | None:
    """Return the next operation on the reward of a scan; None if nothing is left to do now."""
    reward = Reward.get_or_none(Reward.id == standing.scan_id)
    operation = next_operation(standing.earned, reward, now())
    if operation == "reserve" and reward_stocks.is_sold_out(standing.campaign_id):
        return None
    return operation and Step(standing, operation, reward.revision if reward else 0)


def next_operation(earned: Earned, reward: Reward | None, at: datetime) -> Operation | None:
    """Return the next operation on a reward at a time; None if nothing is left to do then."""
    if reward is None:
        return STEPS[earned].get("released")
    if earned == "reservation" and reward.created_at + REVIEW_PERIOD <= at:
        earned = "nothing"
    if earned == "reward" and reward.state == "granted" and reward.code_hash is not None:
        return "claim"
    operation = STEPS[earned].get(reward.state)
    if operation == "extend" and reward.expires_at is not None and at < reward.expires_at - HOLD / 2:
        return None
    if operation == "release" and reward.state == "suspended" and at < reward.suspended_at + SUSPENSION:
        return None
    return operation


def store(step: Step, held: Held) -> None:
    """Store the answer of Locker to a step, unless the row has another revision by now."""
    if step.revision:
        change(step.standing.scan_id, step.revision, held.state, held)
        return
    identity, standing, at = context.current(), step.standing, now()
    assert identity is not None
    insert = Reward.insert(
        id=standing.scan_id,
        brand_id=identity.brand_id,
        campaign_id=standing.campaign_id,
        user_id=standing.user_id,
        campaign_name=standing.campaign_name,
        reward_key=held.reward_key,
        name=held.name,
        expires_at=held.expires_at,
        created_at=at,
        updated_at=at,
        **{"state": held.state, **_times(held.state, at)},
    )
    for inserted in insert.on_conflict_ignore().returning(Reward).execute():
        _follow(inserted, before="released")


def store_refusal(step: Step, code: str) -> bool:
    """Store the state that a refusal of Locker reveals. Return False if the refusal reveals none: no unit is free."""
    state = STATES_AT_LOCKER.get(code)
    if state is not None:
        change(step.standing.scan_id, step.revision, state)
    if code == "sold_out":
        _enqueue_refresh(step.standing.campaign_id)
    return state is not None


def store_own(step: Step) -> None:
    """Apply a step that does not concern Locker: record the loss of a redeemed reward, or the end of the loss."""
    reward_id = step.standing.scan_id
    if step.operation == "lose" and change(reward_id, step.revision, "lost"):
        trail.record("reward.lose", table="rewards", record_id=reward_id, after={"state": "lost"})
    if step.operation == "recover" and change(reward_id, step.revision, "redeemed"):
        trail.record("reward.recover", table="rewards", record_id=reward_id, after={"state": "redeemed"})


def store_redemption(reward: Reward, outcome: Held | str) -> None:
    """Store a redemption, or the code with which Locker has refused it, unless the row has changed meanwhile.

    A refusal ends the redemption, and reveals the state of the reward.
    """
    if isinstance(outcome, Held):
        change(reward.id, reward.revision, outcome.state, outcome)
        return
    change(reward.id, reward.revision, STATES_AT_LOCKER[outcome], redemption_job_id=None, redeemed_by=None)


def change(reward_id: UUID, revision: int, state: RewardState, held: Held | None = None, **columns: Any) -> bool:
    """Change a reward that has this revision, with everything that follows. Return whether it had the revision."""
    before = Reward.get_or_none(Reward.id == reward_id)
    if before is None:
        return False
    at = now()
    changes: dict[str, Any] = {
        **columns,
        "state": state,
        "revision": revision + 1,
        "updated_at": at,
        "expires_at": None,
    }
    if held is not None:
        changes |= {"reward_key": held.reward_key, "name": held.name, "expires_at": held.expires_at}
    changes |= {name: getattr(before, name) or time for name, time in _times(state, at).items()}
    if state != "suspended":
        changes["suspended_at"] = None
    if state in ("suspended", "released"):
        changes |= {"code_hash": None, "code_expires_at": None}
    update = Reward.update(**changes).where(Reward.id == reward_id, Reward.revision == revision).returning(Reward)
    changed = list(update.execute())
    for reward in changed:
        _follow(reward, before=before.state)
    return bool(changed)


def _times(state: str, at: datetime) -> dict[str, datetime]:
    """Return the columns of times that a state sets unless they are set."""
    passed = [kind.removeprefix("reward_") for kind in EVENTS.get(state, ())]
    return {f"{name}_at": at for name in [*passed, *(["suspended"] if state == "suspended" else [])]}


def _follow(reward: Reward, *, before: str) -> None:
    """Record the engagement events of a changed state, notify the brand's programs, and enqueue what is due later."""
    had, has = EVENTS.get(before, ()), EVENTS.get(reward.state, ())
    for kind in EVENTS["redeemed"]:
        if (kind in had) != (kind in has):
            _record(reward, kind, reverses=kind in had)
    again = {"reserved": HOLD / 2, "suspended": SUSPENSION}.get(reward.state)
    if again is not None:
        enqueue_settle(reward.id, delay=again + MARGIN)
    if reward.state == "released":
        reward_stocks.note_return(reward.campaign_id, reward.reward_key)
    _enqueue_refresh(reward.campaign_id)


def _enqueue_refresh(campaign_id: UUID) -> None:
    enqueue("reward.refresh_stock", campaign_id, unique="while_waiting", delay=REFRESH_DELAY)


def _record(reward: Reward, kind: EngagementKind, *, reverses: bool) -> None:
    engagement_events.record(
        kind,
        brand_id=reward.brand_id,
        campaign_id=reward.campaign_id,
        user_id=reward.user_id,
        source_id=reward.id,
        occurred_at=getattr(reward, f"{kind.removeprefix('reward_')}_at"),
        reverses=reverses,
    )
    if not reverses:
        data = {"reward_id": reward.id, "campaign_id": reward.campaign_id, "user_id": reward.user_id}
        outbox.publish(WEBHOOKS[kind], brand_id=reward.brand_id, data=data)


def enqueue_settle(scan_id: UUID, delay: timedelta = timedelta()) -> None:
    """Enqueue the job that brings the reward of a scan into agreement with the scan."""
    enqueue("reward.settle", scan_id, unique="while_waiting", delay=delay, subject=("reward", scan_id))


def find(campaign_id: UUID, *, limit: int, after: UUID | None = None, state: str | None = None) -> list[Reward]:
    """Return up to `limit` rewards of a campaign that the caller may see, newest first.

    Args:
        campaign_id: id of the campaign.
        limit: maximum number of rewards.
        after: id of the last reward of the previous page.
        state: only rewards in this state.
    """
    query = Reward.select().where(Reward.campaign_id == campaign_id).order_by(Reward.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Reward.id < after)
    if state is not None:
        query = query.where(Reward.state == state)
    return list(query)
