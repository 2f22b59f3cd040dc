"""Tests of the rule that names the next operation on a reward."""

from datetime import timedelta
from typing import get_args

import pytest

from jobs.passport.services.locker.contract import SERVICE
from models.campaigns import rewards
from models.campaigns.rewards import HOLD, REVIEW_PERIOD, STATES_AT_LOCKER, SUSPENSION, Earned, Reward
from models.core.database import now
from models.core.enumerations import values_of
from models.passport.locker import MOVES, REFUSALS

OWN = {"lose": "lost", "recover": "redeemed"}
ENDS: dict[Earned, set[str]] = {
    "reward": {"granted", "claimed", "redeemed"},
    "reservation": {"reserved", "suspended", "redeemed"},
    "nothing": {"released", "lost"},
}
"""States in which nothing is left to do, by what the scan has earned."""


def reward(state: str, **columns) -> Reward:
    """Return a reward whose times are so long ago that nothing has to wait, and whose reservation is fresh."""
    at = now()
    times = {"created_at": at - timedelta(days=2), "suspended_at": at - timedelta(days=1), "expires_at": at + HOLD}
    return Reward(state=state, **{**times, **columns})


NOW = now()
"""The time of all cases, which are made when the module is imported."""


@pytest.mark.parametrize("earned", get_args(Earned))
def test_operations_lead_every_state_to_what_the_scan_has_earned(earned):
    for start in values_of(rewards.RewardState):
        state, steps = start, []
        while operation := rewards.next_operation(earned, reward(state), now()):
            steps.append(operation)
            state = "reserved" if operation == "reserve" else OWN.get(operation) or MOVES[operation][state]
            assert len(steps) <= 3, (start, steps)
        assert state in ENDS[earned], (start, steps)


@pytest.mark.parametrize(
    ("earned", "state", "columns", "expected"),
    [
        ("reward", "granted", {"code_hash": b"x"}, "claim"),
        ("nothing", "granted", {"code_hash": b"x"}, "suspend"),
        ("reservation", "reserved", {"expires_at": NOW + HOLD / 2 - timedelta(minutes=1)}, "extend"),
        ("reservation", "reserved", {"expires_at": NOW + HOLD / 2 + timedelta(minutes=1)}, None),
        ("reservation", "reserved", {"expires_at": None}, "extend"),
        ("reservation", "reserved", {"created_at": NOW - REVIEW_PERIOD}, "release"),
        ("reservation", "reserved", {"created_at": NOW - REVIEW_PERIOD + timedelta(minutes=1)}, None),
        ("nothing", "suspended", {"suspended_at": NOW - SUSPENSION}, "release"),
        ("nothing", "suspended", {"suspended_at": NOW - SUSPENSION + timedelta(minutes=1)}, None),
    ],
)
def test_operation_depends_on_claims_and_times(earned, state, columns, expected):
    assert rewards.next_operation(earned, reward(state, **columns), NOW) == expected


@pytest.mark.parametrize(("earned", "expected"), [("reward", "reserve"), ("reservation", "reserve"), ("nothing", None)])
def test_scan_without_reward_begins_with_a_reservation(earned, expected):
    assert rewards.next_operation(earned, None, now()) == expected


def test_refusals_of_locker_reveal_the_state_that_caused_them():
    for state, code in REFUSALS.items():
        assert STATES_AT_LOCKER[code] == state


def test_every_refusal_of_a_change_of_a_reservation_reveals_its_state():
    changes = [
        SERVICE.by_name[name] for name in ("extend", "grant", "claim", "redeem", "suspend", "reinstate", "release")
    ]
    refusals = {code for operation in changes for code in operation.refusals}

    assert refusals - {"unknown_campaign"} == set(STATES_AT_LOCKER)


def test_events_of_a_state_include_those_of_the_states_before_it():
    assert set(rewards.EVENTS["granted"]) < set(rewards.EVENTS["claimed"]) < set(rewards.EVENTS["redeemed"])
