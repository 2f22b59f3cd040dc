"""The local implementation of Locker, on PostgreSQL."""

from datetime import timedelta
from uuid import UUID

import msgspec

from jobs.passport.local import once
from jobs.passport.services.locker.contract import (
    SERVICE,
    Claim,
    Extend,
    Grant,
    Inventory,
    ItemStock,
    Redeem,
    Reference,
    Reinstate,
    Release,
    Reservation,
    Reserve,
    Stock,
    StockOf,
    Suspend,
)
from models.passport import locker
from models.passport.locker import Held, Item, Move


class LocalLocker:
    """Locker over the rules in `models.passport.locker`."""

    def open(self, request: Inventory, *, key: str) -> Stock:
        """Store the inventory of a campaign."""
        return once(SERVICE.name, _open, request, Stock, key=key)

    def reserve(self, request: Reserve, *, key: str) -> Reservation:
        """Reserve a unit."""
        return once(SERVICE.name, _reserve, request, Reservation, key=key)

    def extend(self, request: Extend, *, key: str) -> Reservation:
        """Move the expiry of a reservation."""
        return once(SERVICE.name, _extend, request, Reservation, key=key)

    def grant(self, request: Grant, *, key: str) -> Reservation:
        """Make a reservation the subject's."""
        return self._move("grant", request, key)

    def claim(self, request: Claim, *, key: str) -> Reservation:
        """Record that the subject has asked for a granted reward."""
        return self._move("claim", request, key)

    def redeem(self, request: Redeem, *, key: str) -> Reservation:
        """Record that a reward has been handed over."""
        return self._move("redeem", request, key)

    def suspend(self, request: Suspend, *, key: str) -> Reservation:
        """Keep a reward from its subject."""
        return self._move("suspend", request, key)

    def reinstate(self, request: Reinstate, *, key: str) -> Reservation:
        """Return a suspended reward to its subject."""
        return self._move("reinstate", request, key)

    def release(self, request: Release, *, key: str) -> Reservation:
        """Return the unit of a reservation to the inventory."""
        return self._move("release", request, key)

    def stock(self, request: StockOf, *, key: str) -> Stock:
        """Return the stock of a campaign."""
        return once(SERVICE.name, _stock, request, Stock, key=key)

    @staticmethod
    def _move(name: Move, request: Reference, key: str) -> Reservation:
        def act(request: Reference) -> Reservation:
            return _reservation(locker.move(name, request.campaign, request.reservation))

        return once(SERVICE.name, act, request, Reservation, key=key)


def _open(request: Inventory) -> Stock:
    items = [Item(item.key, item.name, item.quantity, item.per_user) for item in request.rewards]
    return _stock_of(request.campaign, locker.open_inventory(request.campaign, request.version, items))


def _reserve(request: Reserve) -> Reservation:
    hold = timedelta(seconds=request.hold_s)
    held = locker.reserve(request.campaign, request.reservation, request.subject, hold, request.reward)
    return _reservation(held)


def _extend(request: Extend) -> Reservation:
    hold = timedelta(seconds=request.hold_s)
    return _reservation(locker.move("extend", request.campaign, request.reservation, hold))


def _stock(request: StockOf) -> Stock:
    return _stock_of(request.campaign, locker.stock(request.campaign))


def _stock_of(campaign: UUID, stocks: list[locker.ItemStock]) -> Stock:
    return Stock(campaign, [msgspec.convert(stock, ItemStock, from_attributes=True) for stock in stocks])


def _reservation(held: Held) -> Reservation:
    return Reservation(held.id, held.reward, held.name, held.state, held.expires_at)
