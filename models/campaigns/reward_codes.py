"""One-time codes of rewards: a fan shows one, a member of the brand redeems it.

A code is valid for five minutes and replaced by the next one. Only its keyed hash is stored: a copy of the database
yields no code. A member has 50 bits to guess, and 30 attempts a minute.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated, NoReturn
from uuid import UUID

import msgspec

from models.campaigns.rewards import Reward, RewardState
from models.core import context, keys
from models.core.database import now, rows, value
from models.core.errors import Conflict, Members, NotFound
from models.jobs import ledger
from models.jobs.ledger import JobRef, enqueue

LIFETIME = timedelta(minutes=5)
"""Time for which a code is valid."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base 32 of Crockford: without letters that look like digits."""
LENGTH = 10

_PURPOSE = "reward-code"
_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})


class UnknownRewardCode(NotFound):
    """The code belongs to no reward that the caller may redeem, or is no longer valid: the fan can show a new one."""

    code = "unknown_reward_code"


class AlreadyRedeemedMembers(Members):
    """The time of the redemption."""

    redeemed_at: Annotated[
        datetime | None,
        msgspec.Meta(description="Time of the redemption, in UTC; null while it is in progress at another place."),
    ] = None


class AlreadyRedeemed(Conflict):
    """The reward is redeemed, or is being redeemed at another place."""

    code = "already_redeemed"
    members = AlreadyRedeemedMembers


class RewardUnavailableMembers(Members):
    """The state of the reward."""

    state: Annotated[RewardState, msgspec.Meta(description="Present state of the reward.")]


class RewardUnavailable(Conflict):
    """The reward can't be claimed or redeemed in its present state."""

    code = "reward_unavailable"
    members = RewardUnavailableMembers


@dataclass(frozen=True, slots=True)
class OwnReward:
    """A reward as its person sees it."""

    id: UUID
    campaign_id: UUID
    campaign_name: str
    reward_key: str
    name: str
    state: RewardState
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    granted_at: datetime | None
    claimed_at: datetime | None
    redeemed_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A one-time code and the end of its validity."""

    text: str
    expires_at: datetime


def find_own(*, limit: int, after: UUID | None = None, reward_id: UUID | None = None) -> list[OwnReward]:
    """Return up to `limit` rewards of the caller, newest first, that follow the reward with the id `after`."""
    found = rows("SELECT * FROM app.own_rewards(%s, %s, %s)", (reward_id, limit, after))
    return [OwnReward(**one) for one in found]


def get_own(reward_id: UUID) -> OwnReward:
    """Return a reward of the caller.

    Raises:
        NotFound: the caller has no such reward.
    """
    found = find_own(limit=1, reward_id=reward_id)
    if not found:
        raise NotFound
    return found[0]


def issue(reward_id: UUID) -> IssuedCode:
    """Return a new one-time code of the caller's reward. It replaces the code before it.

    Raises:
        NotFound: the caller has no such reward.
        AlreadyRedeemed: the reward is redeemed.
        RewardUnavailable: the reward is reserved, suspended or released.
    """
    text = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    request = json.dumps(asdict(context.request_info()))
    expires_at = now() + LIFETIME
    state = value("SELECT app.issue_reward_code(%s, %s, %s, %s)", (reward_id, _hash(text), LIFETIME, request))
    if state not in ("granted", "claimed"):
        own = find_own(limit=1, reward_id=reward_id)
        _refuse(state, own[0].redeemed_at if own else None)
    return IssuedCode(f"{text[:5]}-{text[5:]}", expires_at)


def _refuse(state: str | None, redeemed_at: datetime | None) -> NoReturn:
    if state is None:
        raise NotFound
    if state in ("redeemed", "lost"):
        raise AlreadyRedeemed(redeemed_at=redeemed_at)
    raise RewardUnavailable(state=state)


def start_redemption(code: str) -> tuple[Reward, JobRef]:
    """Start the job that redeems the reward of a code, and return both. The code is used up.

    Raises:
        UnknownRewardCode: the brand has no reward with this code, or the code has expired.
        AlreadyRedeemed: the reward is redeemed, or another job redeems it.
        RewardUnavailable: the reward is suspended or released.
    """
    found = Reward.select().where(Reward.code_hash == _hash(code.upper().translate(_LOOK_ALIKES)))
    reward: Reward | None = next(iter(found.for_update()), None)
    if reward is None or reward.code_expires_at <= now():
        raise UnknownRewardCode
    if reward.redemption_job_id is not None and ledger.is_live(reward.redemption_job_id):
        raise AlreadyRedeemed(redeemed_at=None)
    require_redeemable(reward)
    identity = context.current()
    assert identity is not None
    job = enqueue("reward.redeem", reward.id, subject=("reward", reward.id), priority=0)
    Reward.update(redemption_job_id=job.id, redeemed_by=identity.actor_id).where(Reward.id == reward.id).execute()
    return reward, job


def redeemed(reward_id: UUID, job: JobRef) -> Reward:
    """Return a reward that a job has redeemed.

    Raises:
        NotFound: the brand has no such reward.
        AlreadyRedeemed: the reward was redeemed otherwise.
        RewardUnavailable: the reward was suspended or released meanwhile.
    """
    reward: Reward | None = Reward.get_or_none(Reward.id == reward_id)
    if reward is None:
        raise NotFound
    if reward.state != "redeemed" or reward.redemption_job_id != job.id:
        _refuse(reward.state, reward.redeemed_at)
    return reward


def require_redeemable(reward: Reward) -> None:
    """Check that the state of a reward allows a redemption.

    Raises:
        AlreadyRedeemed: the reward is redeemed.
        RewardUnavailable: the reward is reserved, suspended or released.
    """
    if reward.state not in ("granted", "claimed"):
        _refuse(reward.state, reward.redeemed_at)


def _hash(text: str) -> bytes:
    return keys.keyed_hash(_PURPOSE, text.encode())
