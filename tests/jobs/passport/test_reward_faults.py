"""A redemption at a Locker that has lost the campaign waits until the inventory is open again."""

import pytest

from models.campaigns import reward_codes

pytestmark = pytest.mark.xdist_group("services")


def test_redemption_waits_for_a_locker_that_does_not_know_the_campaign(outside, drop, manager):
    locker = outside.use("locker")
    made = drop(gold=1)
    scan, code = made.claim(made.fan())
    locker.reset()

    with manager.acting():
        reward_codes.start_redemption(code)
    made.drain(rounds=1)
    waiting = made.run("select actor, error ->> 'kind' from app.jobs where actor = 'reward.redeem'")

    assert waiting == [("reward.redeem", "RetryLater")]
    assert made.state(scan) == "claimed"
