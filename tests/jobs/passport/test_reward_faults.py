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


def test_rewards_arrive_once_whatever_locker_answers(locker: Counterpart, drop: MakeDrop) -> None:
    made = drop(gold=9)
    scans = []
    for fault in FAULTS:
        locker.fail(**fault)  # The first call of the next job is the reservation.
        scans.append(made.scan())
        made.settle(scans[-1])

    counts = locker.counts()["effects"]
    assert [made.state(scan) for scan in scans] == ["granted"] * len(FAULTS)
    assert (counts["reserve"], counts["grant"]) == (len(FAULTS), len(FAULTS))


def test_redemption_whose_answer_is_lost_happens_once(locker: Counterpart, drop: MakeDrop, manager: Any) -> None:
    made = drop(gold=1)
    scan, code = made.claim(made.fan())
    locker.fail(kind="drop_after")

    made.redeem(code, manager)

    counts = locker.counts()
    assert made.state(scan) == "redeemed"
    assert (counts["calls"]["redeem"], counts["effects"]["redeem"]) == (2, 1)
