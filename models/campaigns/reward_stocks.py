"""The stock of each reward of a campaign, as Locker last reported it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from models.campaigns import campaigns
from models.core import context, locks
from models.core.database import execute, rows
from models.notifications import notifications

LOW_SHARE = 0.1
"""Share of the units that are left, from which on the members are notified."""

_FIND = """
SELECT s.reward_key AS key, s.name, s.quantity, s.per_user, s.reserved, s.granted, s.claimed, s.redeemed, s.suspended,
    s.as_of FROM public.reward_stocks s WHERE s.campaign_id = %s ORDER BY s.position
"""
_KNOWN = "SELECT reward_key, as_of, is_low FROM public.reward_stocks WHERE campaign_id = %s"
_STORE = """
INSERT INTO public.reward_stocks (brand_id, campaign_id, reward_key, name, position, quantity, per_user, reserved,
    granted, claimed, redeemed, suspended, is_low, as_of)
VALUES (%(brand_id)s, %(campaign_id)s, %(key)s, %(name)s, %(position)s, %(quantity)s, %(per_user)s, %(reserved)s,
    %(granted)s, %(claimed)s, %(redeemed)s, %(suspended)s, %(is_low)s, %(as_of)s)
ON CONFLICT (campaign_id, reward_key) DO UPDATE SET name = excluded.name, position = excluded.position,
    quantity = excluded.quantity, per_user = excluded.per_user, reserved = excluded.reserved,
    granted = excluded.granted, claimed = excluded.claimed, redeemed = excluded.redeemed,
    suspended = excluded.suspended, is_low = excluded.is_low, as_of = excluded.as_of
"""


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
    def left(self) -> int:
        """Return the number of free units."""
        return self.quantity - self.reserved - self.granted - self.claimed - self.redeemed - self.suspended

    @property
    def is_low(self) -> bool:
        """Report whether at most `LOW_SHARE` of the units are left."""
        return self.left <= self.quantity * LOW_SHARE


def find(campaign_id: UUID) -> list[Stock]:
    """Return the stocks of a campaign that the caller may see, in the order of its configuration."""
    return [Stock(**found) for found in rows(_FIND, (campaign_id,))]


def store(campaign_id: UUID, stocks: Sequence[Stock]) -> None:
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
        execute(_STORE, {**asdict(stock), **keys, "is_low": stock.is_low})
        if stock.is_low and not (known.get(stock.key) or {"is_low": False})["is_low"]:
            notifications.notify(
                "rewards_low",
                brand_id=identity.brand_id,
                subject=("campaign", campaign_id),
                values={"reward": stock.name, "campaign": campaigns.get(campaign_id).name, "left": stock.left},
                permission="campaigns:read",
            )
