"""Contract of Locker: requests, answers and refusals of each operation. `docs/services/locker.md` explains them."""

from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

from msgspec import Meta, Struct

from jobs.passport.contract import Operation, Service
from models.core.enumerations import enumeration

Campaign = Annotated[UUID, Meta(description="Id of the campaign.")]
ReservationId = Annotated[
    UUID, Meta(description="Id of the reservation, chosen by the caller and unique in the campaign.")
]
Key = Annotated[str, Meta(min_length=1, max_length=64, description="Key of the reward, unique in the campaign.")]
Name = Annotated[str, Meta(min_length=1, max_length=200, description="Name of the reward, for people.")]
Quantity = Annotated[int, Meta(ge=0, le=1_000_000, description="Units of the reward in total.")]
PerUser = Annotated[int, Meta(ge=1, le=1_000_000, description="Units that one subject may hold.")]
Count = Annotated[int, Meta(ge=0, description="Number of reservations in this state.")]
Hold = Annotated[
    int,
    Meta(
        ge=0,
        le=2_592_000,
        description="Seconds from the receipt of the request until the unit returns to the inventory.",
    ),
]
ReservationState = Annotated[
    Literal["reserved", "granted", "claimed", "redeemed", "suspended", "released"],
    enumeration(
        "ReservationState",
        "State of a reservation; all but `released` hold a unit. `reserved`: until `expires_at`. `granted`: the "
        "subject may claim it. `claimed`: the subject has asked for it. `redeemed`: handed over. `suspended`: kept "
        "from the subject until it is reinstated or released. `released`: the unit is free, also after the expiry.",
    ),
]


class InventoryItem(Struct, frozen=True):
    """One reward of an inventory."""

    key: Key
    name: Name
    quantity: Quantity
    per_user: PerUser = 1


class Inventory(Struct, frozen=True):
    """All rewards of a campaign, in the order in which they are reserved. A newer version replaces the inventory."""

    campaign: Campaign
    version: Annotated[
        int,
        Meta(ge=1, description="Version of the inventory. One that is not newer than the stored one changes nothing."),
    ]
    rewards: Annotated[list[InventoryItem], Meta(max_length=100, description="Rewards with different keys.")]


class Reserve(Struct, frozen=True):
    """A unit to reserve. A reservation that holds a unit is returned as it is; a released one gets a unit again."""

    campaign: Campaign
    reservation: ReservationId
    subject: Annotated[UUID, Meta(description="Opaque id of the person; no address and no name.")]
    hold_s: Hold
    reward: Annotated[
        Key | None, Meta(description="Reward to reserve; null: the first one that is free to the subject.")
    ] = None


class Extend(Struct, frozen=True):
    """A reservation whose expiry moves. A granted, claimed or redeemed one has none and is returned."""

    campaign: Campaign
    reservation: ReservationId
    hold_s: Hold


class Reference(Struct, frozen=True):
    """A reservation."""

    campaign: Campaign
    reservation: ReservationId


class Grant(Reference, frozen=True):
    """A reservation that becomes the subject's. It no longer expires."""


class Claim(Reference, frozen=True):
    """A granted reward that the subject has asked for."""


class Redeem(Reference, frozen=True):
    """A granted or claimed reward that has been handed over. A second redemption is refused."""


class Suspend(Reference, frozen=True):
    """A granted or claimed reward to keep from its subject. It holds its unit."""


class Reinstate(Reference, frozen=True):
    """A suspended reward to return to its subject, granted or claimed as before."""


class Release(Reference, frozen=True):
    """A reservation whose unit returns to the inventory."""


class StockOf(Struct, frozen=True):
    """A campaign whose stock is asked for."""

    campaign: Campaign


class Reservation(Struct, frozen=True):
    """A reservation after an operation."""

    reservation: ReservationId
    reward: Key
    name: Name
    state: ReservationState
    expires_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="Time at which the unit returns; null unless the state is `reserved`."),
    ]


class ItemStock(Struct, frozen=True):
    """One reward with the number of its reservations in each state. The rest of `quantity` is free."""

    key: Key
    name: Name
    quantity: Quantity
    per_user: PerUser
    reserved: Count
    granted: Count
    claimed: Count
    redeemed: Count
    suspended: Count


class Stock(Struct, frozen=True):
    """The inventory of a campaign."""

    campaign: Campaign
    rewards: Annotated[list[ItemStock], Meta(description="Rewards in their order.")]


class Locker(Protocol):
    """Inventory and claims of rewards. The structs of the requests describe the operations."""

    def open(self, request: Inventory, *, key: str) -> Stock:
        """Store the inventory of a campaign."""

    def reserve(self, request: Reserve, *, key: str) -> Reservation:
        """Reserve a unit."""

    def extend(self, request: Extend, *, key: str) -> Reservation:
        """Move the expiry of a reservation."""

    def grant(self, request: Grant, *, key: str) -> Reservation:
        """Make a reservation the subject's."""

    def claim(self, request: Claim, *, key: str) -> Reservation:
        """Record that the subject has asked for the reward."""

    def redeem(self, request: Redeem, *, key: str) -> Reservation:
        """Record that the reward has been handed over."""

    def suspend(self, request: Suspend, *, key: str) -> Reservation:
        """Keep the reward from its subject."""

    def reinstate(self, request: Reinstate, *, key: str) -> Reservation:
        """Return a suspended reward to its subject."""

    def release(self, request: Release, *, key: str) -> Reservation:
        """Return the unit to the inventory."""

    def stock(self, request: StockOf, *, key: str) -> Stock:
        """Return the stock of a campaign."""


_STATES = ("unknown_campaign", "unknown_reservation", "reservation_expired")

SERVICE = Service(
    "locker",
    operations=(
        Operation("open", Inventory, Stock, refusals=("below_given",)),
        Operation(
            "reserve",
            Reserve,
            Reservation,
            refusals=("unknown_campaign", "unknown_reward", "per_user_limit", "sold_out"),
        ),
        Operation("extend", Extend, Reservation, refusals=(*_STATES, "reservation_suspended")),
        Operation("grant", Grant, Reservation, refusals=(*_STATES, "reservation_suspended")),
        Operation("claim", Claim, Reservation, refusals=(*_STATES, "reservation_suspended", "not_granted")),
        Operation(
            "redeem",
            Redeem,
            Reservation,
            refusals=(*_STATES, "reservation_suspended", "not_granted", "already_redeemed"),
        ),
        Operation("suspend", Suspend, Reservation, refusals=(*_STATES, "not_granted", "already_redeemed")),
        Operation("reinstate", Reinstate, Reservation, refusals=(*_STATES, "not_granted")),
        Operation("release", Release, Reservation, refusals=(*_STATES[:2], "already_redeemed")),
        Operation("stock", StockOf, Stock, refusals=("unknown_campaign",)),
    ),
)
"""Locker as the gateway calls it."""
