"""Inventories of rewards and their reservations: the rules of the local implementation of Locker.

Every operation first locks the row of its campaign, so the operations on a campaign are serial. `locker_rewards.taken`
counts the reservations that hold a unit, and a constraint keeps it within the inventory. A caller's transaction
contains one operation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from models.core import context
from models.core.database import execute, row, rows, value
from models.core.errors import REGISTRY, Conflict

State = Literal["reserved", "granted", "claimed", "redeemed", "suspended", "released"]
Move = Literal["extend", "grant", "claim", "redeem", "suspend", "reinstate", "release"]

_HELD: dict[State, State] = {"granted": "granted", "claimed": "claimed", "redeemed": "redeemed"}
MOVES: dict[Move, dict[State, State]] = {
    "extend": {"reserved": "reserved", **_HELD},
    "grant": {"reserved": "granted", **_HELD},
    "claim": {"granted": "claimed", "claimed": "claimed", "redeemed": "redeemed"},
    "redeem": {"granted": "redeemed", "claimed": "redeemed"},
    "suspend": {"granted": "suspended", "claimed": "suspended", "suspended": "suspended"},
    "reinstate": {"suspended": "granted", **_HELD},
    "release": dict.fromkeys(("reserved", "granted", "claimed", "suspended", "released"), "released"),
}
"""The state after each operation, by the state before it. A missing state is refused with its code in `REFUSALS`."""

REFUSALS: dict[State, str] = {
    "reserved": "not_granted",
    "redeemed": "already_redeemed",
    "suspended": "reservation_suspended",
    "released": "reservation_expired",
}
"""Code of the refusal of an operation that a state does not allow."""


class Refused(Conflict):
    """The rules of Locker refuse the operation; `code` is the code of the refusal in the contract."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or REGISTRY[code].title)
        self.code = code


@dataclass(frozen=True, slots=True)
class Item:
    """One reward of an inventory: units in total, and units that one subject may hold."""

    key: str
    name: str
    quantity: int
    per_user: int


@dataclass(frozen=True, slots=True)
class ItemStock:
    """One reward of an inventory with the number of its reservations in each state."""

    key: str
    name: str
    quantity: int
    per_user: int
    reserved: int
    granted: int
    claimed: int
    redeemed: int
    suspended: int


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation."""

    id: UUID
    reward: str
    name: str
    state: State
    expires_at: datetime | None


_FIND = """
SELECT h.id, h.reward_key AS reward, r.name, h.state, h.expires_at FROM public.locker_reservations h
JOIN public.locker_rewards r ON r.campaign_id = h.campaign_id AND r.key = h.reward_key
WHERE h.campaign_id = %s AND h.id = %s
"""
_STOCK = """
SELECT r.key, r.name, r.quantity, r.per_user,
    count(*) FILTER (WHERE h.state = 'reserved') AS reserved, count(*) FILTER (WHERE h.state = 'granted') AS granted,
    count(*) FILTER (WHERE h.state = 'claimed') AS claimed, count(*) FILTER (WHERE h.state = 'redeemed') AS redeemed,
    count(*) FILTER (WHERE h.state = 'suspended') AS suspended
FROM public.locker_rewards r
LEFT JOIN public.locker_reservations h ON h.campaign_id = r.campaign_id AND h.reward_key = r.key
WHERE r.campaign_id = %s AND (r.quantity > 0 OR r.taken > 0) GROUP BY r.campaign_id, r.key ORDER BY r.position
"""
_CHOICES = """
SELECT r.key, r.taken < r.quantity AS is_free, r.per_user > (
    SELECT count(*) FROM public.locker_reservations h WHERE h.campaign_id = r.campaign_id AND h.subject = %(subject)s
        AND h.reward_key = r.key AND h.state <> 'released') AS is_allowed
FROM public.locker_rewards r
WHERE r.campaign_id = %(campaign)s AND r.quantity > 0 AND (%(reward)s::text IS NULL OR r.key = %(reward)s)
ORDER BY r.position
"""
_RESERVE = """
INSERT INTO public.locker_reservations (id, brand_id, campaign_id, reward_key, subject, state, expires_at)
VALUES (%(id)s, %(brand)s, %(campaign)s, %(reward)s, %(subject)s, 'reserved', now() + %(hold)s)
ON CONFLICT (campaign_id, id) DO UPDATE SET reward_key = excluded.reward_key, subject = excluded.subject,
    state = 'reserved', expires_at = excluded.expires_at, claimed_at = NULL, updated_at = now()
"""
_MOVE = """
UPDATE public.locker_reservations SET state = %(state)s, updated_at = now(),
    expires_at = CASE WHEN %(state)s = 'reserved' THEN now() + %(hold)s END,
    claimed_at = CASE WHEN %(state)s = 'claimed' THEN coalesce(claimed_at, now()) ELSE claimed_at END
WHERE campaign_id = %(campaign)s AND id = %(id)s
"""
_RECLAIM = """
WITH expired AS (
    UPDATE public.locker_reservations SET state = 'released', expires_at = NULL, updated_at = now()
    WHERE campaign_id = %s AND state = 'reserved' AND expires_at <= now() RETURNING campaign_id, reward_key
), counted AS (SELECT campaign_id, reward_key, count(*) AS units FROM expired GROUP BY campaign_id, reward_key)
UPDATE public.locker_rewards r SET taken = r.taken - c.units FROM counted c
WHERE r.campaign_id = c.campaign_id AND r.key = c.reward_key
"""


def open_inventory(campaign: UUID, version: int, items: Iterable[Item]) -> list[ItemStock]:
    """Store the inventory of a campaign, and return its stock. An inventory of an older version changes nothing.

    A reward that is left out gets the quantity 0.

    Raises:
        Refused: `below_given`: a quantity would be smaller than the units that reservations hold.
    """
    identity = context.current()
    assert identity is not None
    execute(
        "INSERT INTO public.locker_campaigns (brand_id, campaign_id, version) VALUES (%s, %s, 0)"
        " ON CONFLICT DO NOTHING",
        (identity.brand_id, campaign),
    )
    _get_for_update(campaign)
    newer = execute(
        "UPDATE public.locker_campaigns SET version = %s WHERE campaign_id = %s AND version < %s",
        (version, campaign, version),
    )
    if newer:
        _reclaim(campaign)
        _replace(identity.brand_id, campaign, list(items))
    return _stock(campaign)


def _replace(brand_id: UUID | None, campaign: UUID, items: list[Item]) -> None:
    wanted = {item.key: item.quantity for item in items}
    for found in rows("SELECT key, taken FROM public.locker_rewards WHERE campaign_id = %s", (campaign,)):
        if found["taken"] > wanted.get(found["key"], 0):
            raise Refused("below_given", f"{found['taken']} units of {found['key']!r} are held.")
    for position, item in enumerate(items):
        execute(
            "INSERT INTO public.locker_rewards (brand_id, campaign_id, key, name, position, quantity, per_user)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (campaign_id, key) DO UPDATE SET name = excluded.name,"
            " position = excluded.position, quantity = excluded.quantity, per_user = excluded.per_user",
            (brand_id, campaign, item.key, item.name, position, item.quantity, item.per_user),
        )
    execute(
        "UPDATE public.locker_rewards SET quantity = 0 WHERE campaign_id = %s AND key <> ALL (%s)",
        (campaign, list(wanted)),
    )


def reserve(campaign: UUID, reservation: UUID, subject: UUID, hold: timedelta, reward: str | None = None) -> Held:
    """Reserve a unit until `hold` is over, of the first reward of the inventory that is free to the subject.

    A reservation that holds a unit is returned as it is. A released one gets a unit again.

    Args:
        campaign: id of the campaign.
        reservation: id that the caller has chosen.
        subject: opaque id of the person.
        hold: time after which the unit returns to the inventory, unless the reservation is extended or granted.
        reward: key of the reward; None: any of the campaign.

    Raises:
        Refused: `unknown_campaign`, `unknown_reward`, `per_user_limit` (the subject holds as many units as allowed of
            every reward), `sold_out`.
    """
    _get_for_update(campaign)
    _reclaim(campaign)
    held = _find(campaign, reservation)
    if held is not None and held.state != "released":
        return held
    key = _choose(campaign, subject, reward)
    execute("UPDATE public.locker_rewards SET taken = taken + 1 WHERE campaign_id = %s AND key = %s", (campaign, key))
    identity = context.current()
    assert identity is not None
    params = {"id": reservation, "brand": identity.brand_id, "campaign": campaign, "reward": key}
    execute(_RESERVE, params | {"subject": subject, "hold": hold})
    return _get(campaign, reservation)


def _choose(campaign: UUID, subject: UUID, reward: str | None) -> str:
    choices = rows(_CHOICES, {"campaign": campaign, "subject": subject, "reward": reward})
    if not choices:
        raise Refused("unknown_reward")
    allowed = [choice for choice in choices if choice["is_allowed"]]
    if not allowed:
        raise Refused("per_user_limit")
    for choice in allowed:
        if choice["is_free"]:
            return str(choice["key"])
    raise Refused("sold_out")


def move(name: Move, campaign: UUID, reservation: UUID, hold: timedelta | None = None) -> Held:
    """Apply an operation of `MOVES` to a reservation and return it.

    Args:
        name: the operation.
        campaign: id of the campaign.
        reservation: id of the reservation.
        hold: time until the new expiry of an extended reservation.

    Raises:
        Refused: `unknown_campaign`, `unknown_reservation`, or a code of `REFUSALS`: the state does not allow it.
    """
    _get_for_update(campaign)
    _reclaim(campaign)
    held = _get(campaign, reservation)
    if held.state not in MOVES[name]:
        raise Refused(REFUSALS[held.state])
    target = MOVES[name][held.state]
    if target == held.state != "reserved":
        return held
    if name == "reinstate" and _was_claimed(campaign, reservation):
        target = "claimed"
    execute(_MOVE, {"campaign": campaign, "id": reservation, "state": target, "hold": hold})
    if target == "released":
        execute(
            "UPDATE public.locker_rewards SET taken = taken - 1 WHERE campaign_id = %s AND key = %s",
            (campaign, held.reward),
        )
    return _get(campaign, reservation)


def _was_claimed(campaign: UUID, reservation: UUID) -> bool:
    sql = "SELECT claimed_at IS NOT NULL FROM public.locker_reservations WHERE campaign_id = %s AND id = %s"
    return bool(value(sql, (campaign, reservation)))


def stock(campaign: UUID) -> list[ItemStock]:
    """Return the rewards of a campaign in their order, with the number of reservations in each state.

    Raises:
        Refused: `unknown_campaign`.
    """
    _get_for_update(campaign)
    _reclaim(campaign)
    return _stock(campaign)


def expire() -> int:
    """Release the expired reservations of all campaigns, as a system job. Return the number of campaigns."""
    found = rows(
        "SELECT DISTINCT campaign_id FROM public.locker_reservations WHERE state = 'reserved' AND expires_at <= now()"
    )
    for campaign in sorted(one["campaign_id"] for one in found):
        _get_for_update(campaign)
        _reclaim(campaign)
    return len(found)


def _get_for_update(campaign: UUID) -> None:
    """Lock the row of a campaign until the transaction ends.

    Raises:
        Refused: `unknown_campaign`.
    """
    if not rows("SELECT FROM public.locker_campaigns WHERE campaign_id = %s FOR UPDATE", (campaign,)):
        raise Refused("unknown_campaign")


def _reclaim(campaign: UUID) -> None:
    """Release the expired reservations of a locked campaign."""
    execute(_RECLAIM, (campaign,))


def _stock(campaign: UUID) -> list[ItemStock]:
    return [ItemStock(**found) for found in rows(_STOCK, (campaign,))]


def _find(campaign: UUID, reservation: UUID) -> Held | None:
    found: dict[str, Any] | None = row(_FIND, (campaign, reservation))
    return None if found is None else Held(**found)


def _get(campaign: UUID, reservation: UUID) -> Held:
    held = _find(campaign, reservation)
    if held is None:
        raise Refused("unknown_reservation")
    return held
