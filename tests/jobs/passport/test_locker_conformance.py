"""Conformance of Locker: what docs/services/locker.md says holds for both implementations."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, get_args
from uuid import UUID, uuid4

import msgspec
import pytest

from jobs.passport.contract import ServiceKeyReused, ServiceRefused
from jobs.passport.services.locker import locker
from jobs.passport.services.locker.contract import (
    Claim,
    Extend,
    Grant,
    Inventory,
    InventoryItem,
    ItemStock,
    Redeem,
    Reinstate,
    Release,
    Reserve,
    StockOf,
    Suspend,
)
from models.core.database import close_thread_connections
from models.passport.locker import MOVES, REFUSALS, State

COUNTERPART = "locker"
HOUR = 3600
MADE = {
    "grant": Grant,
    "claim": Claim,
    "redeem": Redeem,
    "suspend": Suspend,
    "reinstate": Reinstate,
    "release": Release,
}
PATHS: dict[State, tuple[str, ...]] = {
    "reserved": (),
    "granted": ("grant",),
    "claimed": ("grant", "claim"),
    "redeemed": ("grant", "redeem"),
    "suspended": ("grant", "suspend"),
    "released": ("release",),
}
"""Operations that lead from a reservation to each state."""


class Campaign:
    """A campaign at Locker. Each call has a key of its own."""

    def __init__(self) -> None:
        self.id = uuid4()

    def open(self, version: int = 1, *, per_user: int = 1, **quantities: int) -> dict[str, ItemStock]:
        """Store an inventory of these quantities."""
        items = [InventoryItem(key, key.title(), quantity, per_user) for key, quantity in quantities.items()]
        answer = locker().open(Inventory(self.id, version, items), key=str(uuid4()))
        return {item.key: item for item in answer.rewards}

    def reserve(self, reservation: UUID | None = None, hold_s: int = HOUR, **options: Any) -> Any:
        """Reserve a unit for a new subject, or for the one in `options`."""
        request = Reserve(self.id, reservation or uuid4(), options.pop("subject", uuid4()), hold_s, **options)
        return locker().reserve(request, key=str(uuid4()))

    def move(self, name: str, reservation: UUID, key: str | None = None) -> Any:
        """Apply an operation to a reservation."""
        request = Extend(self.id, reservation, HOUR) if name == "extend" else MADE[name](self.id, reservation)
        return getattr(locker(), name)(request, key=key or str(uuid4()))

    def stock(self) -> dict[str, dict[str, int]]:
        """Return the nonzero numbers of reservations of each reward."""
        counts = {}
        for item in locker().stock(StockOf(self.id), key=str(uuid4())).rewards:
            fields = msgspec.structs.asdict(item)
            counts[item.key] = {state: fields[state] for state in PATHS if fields.get(state)}
        return counts


def code_of(call: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(ServiceRefused) as refused:
        call(*args, **options)
    return str(refused.value.code)


@pytest.fixture
def campaign(implementation: str, as_job: Any, brand: dict[str, Any]) -> Iterator[Campaign]:
    """Return a campaign without an inventory, called by a job of a brand."""
    with as_job(brand_id=brand["id"]):
        yield Campaign()


def test_every_operation_leads_to_the_documented_state_or_refusal(campaign):
    campaign.open(a=100)
    found, expected = {}, {}
    for state, path in PATHS.items():
        for name, goals in MOVES.items():
            reservation = campaign.reserve().reservation
            for step in path:
                campaign.move(step, reservation)
            expected[state, name] = goals.get(state) or REFUSALS[state]
            try:
                found[state, name] = campaign.move(name, reservation).state
            except ServiceRefused as refusal:
                found[state, name] = refusal.code

    assert set(PATHS) == set(get_args(State))
    assert found == expected


def test_reinstated_reservation_is_claimed_again_if_it_was(campaign):
    campaign.open(a=1)
    held = campaign.reserve().reservation
    for step in ("grant", "claim", "suspend"):
        campaign.move(step, held)

    assert campaign.move("reinstate", held).state == "claimed"


def test_reservation_takes_the_first_free_reward_within_the_limit(campaign):
    campaign.open(gold=1, silver=2)
    ana, eva = uuid4(), uuid4()

    taken = [
        campaign.reserve(subject=ana).reward,
        campaign.reserve(subject=ana).reward,
        campaign.reserve(subject=eva).reward,
    ]

    assert taken == ["gold", "silver", "silver"]
    assert code_of(campaign.reserve, subject=ana) == "per_user_limit"
    assert code_of(campaign.reserve) == "sold_out"
    assert code_of(campaign.reserve, reward="gold") == "sold_out"
    assert code_of(campaign.reserve, reward="tin") == "unknown_reward"
    assert campaign.stock() == {"gold": {"reserved": 1}, "silver": {"reserved": 2}}


def test_repeated_reservation_takes_one_unit_and_a_released_one_another(campaign):
    campaign.open(a=2)
    first, ana = campaign.reserve(), uuid4()

    again = campaign.reserve(first.reservation, hold_s=7)
    before = campaign.stock()
    campaign.move("release", first.reservation)
    renewed = campaign.reserve(first.reservation, subject=ana)

    assert again == first
    assert (before, renewed.state, campaign.stock()) == ({"a": {"reserved": 1}}, "reserved", {"a": {"reserved": 1}})
    assert code_of(campaign.reserve, subject=ana) == "per_user_limit"


def test_expired_reservation_returns_its_unit_at_once(campaign):
    campaign.open(a=1)
    expired = campaign.reserve(hold_s=0).reservation

    next_one = campaign.reserve()

    assert (next_one.state, campaign.stock()) == ("reserved", {"a": {"reserved": 1}})
    assert code_of(campaign.move, "grant", expired) == "reservation_expired"
    assert code_of(campaign.move, "extend", expired) == "reservation_expired"


def test_extended_reservation_and_granted_one_keep_their_units(campaign):
    campaign.open(a=2)
    first, second = campaign.reserve(hold_s=1), campaign.reserve()

    extended, granted = campaign.move("extend", first.reservation), campaign.move("grant", second.reservation)

    assert first.expires_at
    assert extended.expires_at
    assert extended.expires_at > first.expires_at
    assert granted.expires_at is None


def test_key_of_redemption_repeats_its_answer_and_others_are_refused(campaign):
    campaign.open(a=1)
    held = campaign.reserve().reservation
    campaign.move("grant", held)

    first, again = campaign.move("redeem", held, key="k1"), campaign.move("redeem", held, key="k1")

    assert first == again
    assert first.state == "redeemed"
    assert code_of(campaign.move, "redeem", held, key="k2") == "already_redeemed"
    with pytest.raises(ServiceKeyReused):
        campaign.move("claim", held, key="k1")


def test_inventory_changes_with_newer_versions_down_to_what_is_held(campaign):
    campaign.open(version=3, a=2, b=1)
    campaign.reserve(reward="a")

    same = campaign.open(version=3, a=9)
    too_few = code_of(campaign.open, version=4, b=1)
    smaller = campaign.open(version=4, a=1)

    assert {key: item.quantity for key, item in same.items()} == {"a": 2, "b": 1}
    assert too_few == "below_given"
    assert {key: item.quantity for key, item in smaller.items()} == {"a": 1}
    assert code_of(campaign.reserve, reward="b") == "unknown_reward"


def test_unknown_campaigns_and_reservations_are_refused(campaign):
    assert code_of(campaign.reserve) == "unknown_campaign"
    assert code_of(campaign.move, "grant", uuid4()) == "unknown_campaign"
    assert code_of(campaign.stock) == "unknown_campaign"
    campaign.open(a=1)
    assert code_of(campaign.move, "grant", uuid4()) == "unknown_reservation"


def test_concurrent_reservations_get_exactly_the_inventory(campaign):
    campaign.open(a=5)

    def one() -> str:
        try:
            return str(campaign.reserve().state)
        except ServiceRefused as refusal:
            return refusal.code
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(copy_context().run, one) for _ in range(20)]
        outcomes = Counter(run.result() for run in runs)

    assert outcomes == {"reserved": 5, "sold_out": 15}
    assert campaign.stock() == {"a": {"reserved": 5}}


def test_unit_of_every_state_but_released_counts_for_its_person(campaign):
    campaign.open(a=100)
    answers = {}
    for state, path in PATHS.items():
        person = uuid4()
        reservation = campaign.reserve(subject=person).reservation
        for step in path:
            campaign.move(step, reservation)
        try:
            answers[state] = campaign.reserve(subject=person).state
        except ServiceRefused as refusal:
            answers[state] = refusal.code

    assert answers == dict.fromkeys(PATHS, "per_user_limit") | {"released": "reserved"}
