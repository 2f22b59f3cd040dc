"""Tests of the rules of the local Locker: inventory, reservations and their states."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg2.extensions import connection

from models.core import context
from models.core.database import close_thread_connections, transaction
from models.passport import locker
from models.passport.locker import MOVES, REFUSALS, Held, Item, Move, Refused

HOLD = timedelta(hours=1)
SUBJECTS = [UUID(int=number) for number in range(3)]
RESERVATIONS = [UUID(int=100 + number) for number in range(4)]


@dataclass
class Store:
    """The Locker of one brand, one transaction for each operation."""

    brand_id: UUID
    superuser: connection
    campaign: UUID = field(default_factory=uuid4)

    def act(self, operation: Callable[..., Any], *args: Any) -> Any:
        """Return the result of an operation on the campaign, or the code of its refusal."""
        try:
            with transaction(context.for_brand_job(self.brand_id)):
                return operation(self.campaign, *args)
        except Refused as refusal:
            return refusal.code

    def open(self, version: int = 1, **quantities: int) -> Any:
        """Store an inventory of these quantities; of the reward `b`, a subject may hold two."""
        items = [Item(key, key.upper(), n, 2 if key == "b" else 1) for key, n in quantities.items()]
        return self.act(locker.open_inventory, version, items)

    def reserve(self, reservation: UUID, subject: UUID, reward: str | None = None) -> Any:
        """Reserve a unit for an hour."""
        return self.act(locker.reserve, reservation, subject, HOLD, reward)

    def move(self, name: Move, reservation: UUID) -> Any:
        """Apply an operation to a reservation."""
        return self.act(lambda campaign: locker.move(name, campaign, reservation, HOLD))

    def expire(self, reservation: UUID) -> None:
        """Let the hour of a reservation be over."""
        with self.superuser.cursor() as cursor:
            cursor.execute(
                "update locker_reservations set expires_at = now() - interval '1 s'"
                " where campaign_id = %s and id = %s and state = 'reserved'",
                (self.campaign, reservation),
            )

    def stock(self) -> dict[str, tuple[int, int]]:
        """Return for each reward the quantity and the number of units that reservations hold."""
        found = self.act(locker.stock)
        return {
            one.key: (one.quantity, one.reserved + one.granted + one.claimed + one.redeemed + one.suspended)
            for one in found
        }


@pytest.fixture
def store(brand: dict[str, Any], superuser: connection) -> Store:
    """Return the Locker of a brand without an inventory."""
    return Store(brand["id"], superuser)


class LockerMachine(RuleBasedStateMachine):
    """The local Locker beside a model: the state, subject and reward of each reservation."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.version = store, 1
        self.quantities = {"a": 2, "b": 1}
        self.held: dict[UUID, tuple[str, UUID, str]] = {}
        self.was_claimed: set[UUID] = set()
        store.open(**self.quantities)

    def units(self, key: str, subject: UUID | None = None) -> int:
        """Return the number of units of a reward that reservations hold."""
        return sum(
            state != "released" and of == key and subject in (None, who) for state, who, of in self.held.values()
        )

    def choose(self, subject: UUID, reward: str | None) -> str:
        """Return the key of the reward that the subject gets, or the code of the refusal."""
        asked = [key for key, quantity in self.quantities.items() if quantity and reward in (None, key)]
        allowed = [key for key in asked if self.units(key, subject) < (2 if key == "b" else 1)]
        free = [key for key in allowed if self.units(key) < self.quantities[key]]
        return (free or [("sold_out" if allowed else "per_user_limit") if asked else "unknown_reward"])[0]

    @rule(
        reservation=st.sampled_from(RESERVATIONS),
        subject=st.sampled_from(SUBJECTS),
        reward=st.sampled_from("ab") | st.none(),
    )
    def reserve(self, reservation: UUID, subject: UUID, reward: str | None) -> None:
        """Reserve a unit."""
        answer = self.store.reserve(reservation, subject, reward)
        held = self.held.get(reservation)
        if held and held[0] != "released":
            assert (answer.state, answer.reward) == (held[0], held[2])
            return
        chosen = self.choose(subject, reward)
        if chosen in self.quantities:
            self.held[reservation] = ("reserved", subject, chosen)
            self.was_claimed.discard(reservation)
            assert (answer.state, answer.reward) == ("reserved", chosen)
        else:
            assert answer == chosen

    @rule(name=st.sampled_from(get_args(Move)), reservation=st.sampled_from(RESERVATIONS))
    def move(self, name: Move, reservation: UUID) -> None:
        """Apply an operation to a reservation."""
        answer = self.store.move(name, reservation)
        if reservation not in self.held:
            assert answer == "unknown_reservation"
            return
        state, subject, reward = self.held[reservation]
        if state not in MOVES[name]:
            assert answer == REFUSALS[state]
            return
        target = MOVES[name][state]
        if name == "reinstate" and state == "suspended" and reservation in self.was_claimed:
            target = "claimed"
        if target == "claimed":
            self.was_claimed.add(reservation)
        self.held[reservation] = (target, subject, reward)
        assert (answer.state, answer.reward) == (target, reward)

    @rule(reservation=st.sampled_from(RESERVATIONS))
    def expire(self, reservation: UUID) -> None:
        """Let the time of a reservation be over."""
        self.store.expire(reservation)
        if reservation in self.held and self.held[reservation][0] == "reserved":
            self.held[reservation] = ("released", *self.held[reservation][1:])

    @rule(key=st.sampled_from("ab"), quantity=st.integers(0, 3), is_newer=st.booleans())
    def adjust(self, key: str, quantity: int, is_newer: bool) -> None:
        """Change the quantity of a reward, with a newer or the same version of the inventory."""
        changed = self.quantities | {key: quantity}
        answer = self.store.open(self.version + is_newer, **changed)
        if is_newer and self.units(key) > quantity:
            assert answer == "below_given"
        elif is_newer:
            self.version, self.quantities = self.version + 1, changed

    @invariant()
    def counts_agree(self) -> None:
        """Compare the stock with the model."""
        expected = {key: (quantity, self.units(key)) for key, quantity in self.quantities.items() if quantity}
        assert self.store.stock() == expected
        assert all(taken <= quantity for quantity, taken in expected.values())


def test_locker_agrees_with_a_simple_model(brand, superuser):
    run_state_machine_as_test(
        lambda: LockerMachine(Store(brand["id"], superuser)), settings=settings(max_examples=8, stateful_step_count=30)
    )


def test_concurrent_reservations_never_exceed_the_inventory(store):
    store.open(a=10)

    def at_once(people: int) -> Counter[str]:
        def one(_: int) -> str:
            try:
                answer = store.reserve(uuid4(), uuid4())
                return answer.state if isinstance(answer, Held) else answer
            finally:
                close_thread_connections()

        with ThreadPoolExecutor(16) as pool:
            return Counter(pool.map(one, range(people)))

    first = at_once(64)
    with store.superuser.cursor() as cursor:
        cursor.execute("select id from locker_reservations where campaign_id = %s limit 3", (store.campaign,))
        returned = [store.move("release", id).state for (id,) in cursor.fetchall()]
    second = at_once(16)

    assert (first, returned) == ({"reserved": 10, "sold_out": 54}, ["released"] * 3)
    assert second == {"reserved": 3, "sold_out": 13}
    assert store.stock() == {"a": (10, 10)}


def test_inventory_of_older_version_changes_nothing(store):
    store.open(version=3, a=5)

    store.open(version=2, a=1, b=7)
    store.open(version=3, a=2)

    assert store.stock() == {"a": (5, 0)}


def test_reward_left_out_of_newer_inventory_is_closed(store):
    store.open(a=1, b=1)

    store.open(version=2, b=1)

    assert store.stock() == {"b": (1, 0)}
    assert store.reserve(RESERVATIONS[0], SUBJECTS[0], "a") == "unknown_reward"


def test_expired_reservations_are_released_by_the_scheduled_job(store, superuser):
    store.open(a=1)
    store.reserve(RESERVATIONS[0], SUBJECTS[0])
    store.expire(RESERVATIONS[0])

    with transaction(context.for_system_job()):
        first = locker.expire()
    with transaction(context.for_system_job()):
        second = locker.expire()

    with superuser.cursor() as cursor:
        cursor.execute("select taken from locker_rewards where campaign_id = %s", (store.campaign,))
        assert (first, second, cursor.fetchall()) == (1, 0, [(0,)])


def test_other_brands_find_no_campaign_and_no_reservation(store, make_brand, superuser):
    store.open(a=1)
    store.reserve(RESERVATIONS[0], SUBJECTS[0])
    other = Store(make_brand("Other")["id"], superuser, store.campaign)

    answers = [other.open(version=9, a=0), other.reserve(uuid4(), uuid4()), other.move("release", RESERVATIONS[0])]

    assert answers == ["unknown_campaign"] * 3
    assert store.stock() == {"a": (1, 1)}
