"""Faults of Locker: rewards arrive later, and each exactly once."""

from typing import Any

import pytest

from tests.fixtures.rewards import MakeDrop
from tests.support.counterparts import Counterpart

COUNTERPART = "locker"

FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "garbage"},
    {"kind": "wrong_schema"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
]


@pytest.fixture
def locker(over_http: Counterpart) -> Counterpart:
    """Return the counterpart of Locker, which all calls go to."""
    return over_http


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
def test_reward_arrives_once_whatever_locker_answers(
    locker: Counterpart, drop: MakeDrop, fault: dict[str, Any]
) -> None:
    made = drop(gold=1)
    scan = made.scan()
    locker.fail(**fault)  # The first call of the job is the reservation.

    made.settle(scan)

    counts = locker.counts()
    assert made.state(scan) == "granted"
    assert (counts["calls"]["reserve"], counts["effects"]["reserve"], counts["effects"]["grant"]) == (2, 1, 1)


def test_redemption_whose_answer_is_lost_happens_once(locker: Counterpart, drop: MakeDrop, manager: Any) -> None:
    made = drop(gold=1)
    scan, code = made.claim(made.fan())
    locker.fail(kind="drop_after")

    made.redeem(code, manager)

    counts = locker.counts()
    assert made.state(scan) == "redeemed"
    assert (counts["calls"]["redeem"], counts["effects"]["redeem"]) == (2, 1)
