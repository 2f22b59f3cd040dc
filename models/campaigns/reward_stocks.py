"""The stock of each reward of a campaign, as Locker last reported it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from models.campaigns.config.plans import Reward
from models.core import context, locks
from models.core.database import execute, rows, value
from models.core.errors import Conflict, Members
from models.core.messages import Message
from models.notifications import notifications

LOW_SHARE = 0.1
"""Share of the units that are left, from which on the members are notified."""
SOLD_OUT_FOR = timedelta(minutes=10)
"""Time for which an answer without a free unit is relied on: Locker may get units that nothing here has returned."""

_FIND = """
SELECT s.reward_key AS key, s.name, s.quantity, s.per_user, s.reserved, s.granted, s.claimed, s.redeemed, s.suspended,
    s.as_of FROM public.reward_stocks s WHERE s.campaign_id = %s ORDER BY s.position
"""
_SOLD_OUT = "SELECT bool_and(coalesce(sold_out_until > now(), false)) FROM public.reward_stocks WHERE campaign_id = %s"
_FIRST_EXPIRY = """
SELECT min(expires_at) FROM public.rewards WHERE campaign_id = %s AND state = 'reserved' AND expires_at > %s
"""
_KNOWN = "SELECT reward_key, as_of, is_low FROM public.reward_stocks WHERE campaign_id = %s"
_STORE = """
INSERT INTO public.reward_stocks (brand_id, campaign_id, reward_key, name, position, quantity, per_user, reserved,
    granted, claimed, redeemed, suspended, is_low, sold_out_until, as_of)
VALUES (%(brand_id)s, %(campaign_id)s, %(key)s, %(name)s, %(position)s, %(quantity)s, %(per_user)s, %(reserved)s,
    %(granted)s, %(claimed)s, %(redeemed)s, %(suspended)s, %(is_low)s, %(sold_out_until)s, %(as_of)s)
ON CONFLICT (campaign_id, reward_key) DO UPDATE SET name = excluded.name, position = excluded.position,
    quantity = excluded.quantity, per_user = excluded.per_user, reserved = excluded.reserved,
    granted = excluded.granted, claimed = excluded.claimed, redeemed = excluded.redeemed,
    suspended = excluded.suspended, is_low = excluded.is_low, sold_out_until = excluded.sold_out_until,
    as_of = excluded.as_of
"""


class Given(msgspec.Struct, frozen=True):
    """A reward of which more units are given than the change leaves."""

    key: Annotated[str, msgspec.Meta(description="Key of the reward.", examples=["churros"])]
    given: Annotated[
        int, msgspec.Meta(description="Units that are reserved or given: the smallest possible quantity.", examples=[3])
    ]


class BelowGivenMembers(Members):
    """The rewards whose quantity would be too small."""

    rewards: Annotated[list[Given], msgspec.Meta(description="Rewards whose new quantity is too small, or missing.")]


class BelowGiven(Conflict):
    """The new quantity of a reward is smaller than the number of its units that are given; `rewards` names them."""

    code = "below_given"
    members = BelowGivenMembers


@dataclass(frozen=True, slots=True)
class Stock:
    """The stock of one reward: units in total, reservations in each state, and the time of the answer."""

    key: str
    name: str
    quantity: int
    per_user: int
    reserved: int
    granted: int
    claimed: int
    redeemed: int
    suspended: int
    as_of: datetime

    @property
    def given(self) -> int:
        """Return the number of units that reservations hold."""
        return self.reserved + self.granted + self.claimed + self.redeemed + self.suspended

    @property
    def left(self) -> int:
        """Return the number of free units."""
        return self.quantity - self.given

    @property
    def is_low(self) -> bool:
        """Report whether at most `LOW_SHARE` of the units are left."""
        return self.left <= self.quantity * LOW_SHARE


def find(campaign_id: UUID) -> list[Stock]:
    """Return the stocks of a campaign that the caller may see, in the order of its configuration."""
    return [Stock(**found) for found in rows(_FIND, (campaign_id,))]


def require_covered(campaign_id: UUID, rewards: Sequence[Reward]) -> None:
    """Check that the new rewards of a campaign leave the units that are given, as far as Locker has reported them.

    Locker decides: it refuses the new inventory if more units have been given meanwhile.

    Raises:
        BelowGiven: names each reward whose quantity would be too small.
    """
    wanted = {reward.key: reward.quantity for reward in rewards}
    short = [Given(stock.key, stock.given) for stock in find(campaign_id) if stock.given > wanted.get(stock.key, 0)]
    if short:
        shown = ", ".join(f"{one.key} {one.given}" for one in short)
        raise BelowGiven(
            Message("The quantity must be at least the units given: {rewards}.", rewards=shown), rewards=short
        )


def clock() -> datetime:
    """Return the time of the database, which orders the answers of Locker that several workers store."""
    found: datetime = value("SELECT clock_timestamp()")
    return found


def is_sold_out(campaign_id: UUID) -> bool:
    """Report whether Locker had no unit of any reward left, and none can have returned since."""
    return bool(value(_SOLD_OUT, (campaign_id,)))


def note_return(campaign_id: UUID, reward_key: str) -> None:
    """Record that a unit of a reward has returned: the next scan asks Locker for it."""
    execute(
        "UPDATE public.reward_stocks SET sold_out_until = NULL"
        " WHERE campaign_id = %s AND reward_key = %s AND sold_out_until IS NOT NULL",
        (campaign_id, reward_key),
    )


def store(campaign_id: UUID, campaign_name: str, stocks: Sequence[Stock]) -> None:
    """Replace the stocks of a campaign, unless a newer answer is stored. Notify members once of each low stock."""
    identity = context.current()
    assert identity is not None
    locks.acquire("reward-stocks", campaign_id)
    known = {found["reward_key"]: found for found in rows(_KNOWN, (campaign_id,))}
    if any(found["as_of"] >= stock.as_of for found in known.values() for stock in stocks):
        return
    execute(
        "DELETE FROM public.reward_stocks WHERE campaign_id = %s AND reward_key <> ALL (%s)",
        (campaign_id, [stock.key for stock in stocks]),
    )
    for position, stock in enumerate(stocks):
        keys = {"brand_id": identity.brand_id, "campaign_id": campaign_id, "position": position}
        until = None if stock.left > 0 else _sold_out_until(campaign_id, stock.as_of)
        execute(_STORE, {**asdict(stock), **keys, "is_low": stock.is_low, "sold_out_until": until})
        if stock.is_low and not (known.get(stock.key) or {"is_low": False})["is_low"]:
            notifications.notify(
                "rewards_low",
                brand_id=identity.brand_id,
                subject=("campaign", campaign_id),
                values={"reward": stock.name, "campaign": campaign_name, "left": stock.left},
                permission="campaigns:read",
            )


def _sold_out_until(campaign_id: UUID, as_of: datetime) -> datetime:
    """Return the time until which an answer without a free unit holds: the next reservation may expire then."""
    expiry: datetime | None = value(_FIRST_EXPIRY, (campaign_id, as_of))
    return min(as_of + SOLD_OUT_FOR, expiry or datetime.max.replace(tzinfo=as_of.tzinfo))
