"""Actors of rewards, which call Locker: settle them after scores, redeem them, open and read the stock."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from jobs.engine import RetryLater, actor, current_job, own_transaction
from jobs.passport.contract import ServiceRefused
from jobs.passport.services.locker import locker
from jobs.passport.services.locker.contract import (
    Claim,
    Extend,
    Grant,
    Inventory,
    InventoryItem,
    Redeem,
    Reinstate,
    Release,
    Reservation,
    Reserve,
    StockOf,
    Suspend,
)
from models.campaigns import campaigns, reward_codes, reward_stocks, rewards
from models.campaigns.rewards import HOLD, Call, Held, Reward, Step
from models.jobs.ledger import JobRef
from models.passport import locker as local_locker
from models.scans import standings

MAX_STEPS = 12
"""Maximum number of operations of one job. A reward needs at most three, unless others change it meanwhile."""
UNOPENED_DELAY = 10.0
"""Seconds until the next attempt if Locker does not know the campaign yet."""
GIVE_UP = timedelta(days=3)
"""Time for which rewards wait for a Locker that does not respond."""

reward_actor = partial(actor, runs_as="brand", outward=True, max_attempts=None, give_up_after=GIVE_UP)
"""Declare an actor that calls Locker."""


@reward_actor("reward.settle", time_limit=60.0)
def settle_reward(scan_id: UUID) -> None:
    """Bring the reward of a scan into agreement with what the scan has earned."""
    for _ in range(MAX_STEPS):
        with own_transaction():
            standing = standings.find(scan_id)
            step = None if standing is None else rewards.next_step(standing)
        if step is None or not _take(step):
            return
    raise RetryLater(1.0, "other jobs change the same reward")


def _take(step: Step) -> bool:
    """Perform a step and store its outcome. Return False if the reward can't get further now."""
    operation = step.operation
    if operation == "lose" or operation == "recover":
        with own_transaction():
            rewards.store_own(step)
        return True
    # The key contains the revision: a step that is due again later is another call.
    key = f"{current_job().idempotency_key}-{step.revision}-{operation}"
    try:
        answer = _call(operation, step, key)
    except ServiceRefused as refusal:
        _require_open(refusal)
        with own_transaction():
            return rewards.store_refusal(step, refusal.code)
    with own_transaction():
        rewards.store(step, _held(answer))
    return True


def _call(operation: Call, step: Step, key: str) -> Reservation:
    campaign, reservation, hold_s = step.standing.campaign_id, step.standing.scan_id, int(HOLD.total_seconds())
    match operation:
        case "reserve":
            return locker().reserve(Reserve(campaign, reservation, step.standing.user_id, hold_s), key=key)
        case "extend":
            return locker().extend(Extend(campaign, reservation, hold_s), key=key)
        case "grant":
            return locker().grant(Grant(campaign, reservation), key=key)
        case "claim":
            return locker().claim(Claim(campaign, reservation), key=key)
        case "suspend":
            return locker().suspend(Suspend(campaign, reservation), key=key)
        case "reinstate":
            return locker().reinstate(Reinstate(campaign, reservation), key=key)
        case "release":
            return locker().release(Release(campaign, reservation), key=key)


def _require_open(refusal: ServiceRefused) -> None:
    if refusal.code == "unknown_campaign":
        raise RetryLater(UNOPENED_DELAY, "the inventory of the campaign is not open yet") from None


def _held(answer: Reservation) -> Held:
    return Held(answer.state, answer.reward, answer.name, answer.expires_at)


@reward_actor("reward.redeem", time_limit=30.0)
def redeem_reward(reward_id: UUID) -> None:
    """Redeem a reward at Locker. A refusal changes its state to the one that Locker reveals.

    The job is done only if it has redeemed the reward: staff may hand it over then.

    Raises:
        AlreadyRedeemed: the reward was redeemed otherwise.
        RewardUnavailable: the reward was suspended or released meanwhile, or Locker says so.
    """
    for _ in range(MAX_STEPS):
        with own_transaction():
            reward = Reward.get_or_none(Reward.id == reward_id)
            if reward is None or reward.state not in ("granted", "claimed"):
                reward_codes.redeemed(reward_id, JobRef(current_job().id))
                return
        request, key = Redeem(reward.campaign_id, reward_id), current_job().idempotency_key
        try:
            outcome: Held | str = _held(locker().redeem(request, key=key))
        except ServiceRefused as refusal:
            _require_open(refusal)
            outcome = refusal.code
        with own_transaction():
            rewards.store_redemption(reward, outcome)
    raise RetryLater(1.0, "other jobs change the same reward")


@reward_actor("reward.open", time_limit=30.0)
def open_inventory(campaign_id: UUID) -> None:
    """Store the inventory of a campaign at Locker, as the configuration has it now."""
    with own_transaction():
        campaign, asked_at = campaigns.get(campaign_id), reward_stocks.clock()
    items = msgspec.convert(campaign.config.get("rewards") or [], list[InventoryItem])
    key = f"{current_job().idempotency_key}-open-{campaign.version}"
    answer = locker().open(Inventory(campaign_id, campaign.version, items), key=key)
    _store_stock(campaign_id, answer.rewards, asked_at)


@reward_actor("reward.refresh_stock", time_limit=30.0)
def refresh_stock(campaign_id: UUID) -> None:
    """Read the stock of a campaign from Locker."""
    with own_transaction():
        asked_at = reward_stocks.clock()
    answer = locker().stock(StockOf(campaign_id), key=f"{current_job().idempotency_key}-{asked_at.isoformat()}")
    _store_stock(campaign_id, answer.rewards, asked_at)


def _store_stock(campaign_id: UUID, items: list[Any], as_of: Any) -> None:
    stocks = [reward_stocks.Stock(**msgspec.structs.asdict(item), as_of=as_of) for item in items]
    with own_transaction():
        reward_stocks.store(campaign_id, campaigns.get(campaign_id).name, stocks)


@actor("locker.expire", runs_as="system", time_limit=300.0)
def expire_reservations() -> None:
    """Return the units of expired reservations to the inventories of the local Locker."""
    local_locker.expire()
