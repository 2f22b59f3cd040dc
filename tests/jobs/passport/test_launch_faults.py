"""Faults of Locker during a launch: the campaign says where it stands, and the inventory is opened once."""

from typing import Any

import pytest

from models.campaigns import campaigns, launch
from models.campaigns.campaigns import Campaign
from tests.fixtures.accounts import Account
from tests.fixtures.campaigns import MakeCampaign
from tests.fixtures.jobs import Drain
from tests.support.counterparts import Counterpart

COUNTERPART = "locker"

FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "garbage"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
]


@pytest.fixture
def draft(campaign: MakeCampaign) -> Campaign:
    """Return a Locker Drop that can be launched."""
    rewards = [{"key": "churros", "name": "Six churros", "quantity": 9}]
    return campaign(kind="Locker", launched=False, rewards=rewards)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
def test_launch_is_repeated_whatever_locker_answers(
    over_http: Counterpart, draft: Campaign, manager: Account, drain: Drain, fault: dict[str, Any]
) -> None:
    over_http.fail(**fault)
    with manager.acting():
        launch.start(draft.id)

    assert drain().count("campaign.launch") == 2

    with manager.acting():
        assert campaigns.get(draft.id).status == "Active"
    counts = over_http.counts()
    assert (counts["calls"]["open"], counts["effects"]["open"]) == (2, 1)


def test_launch_fails_at_the_service_and_is_started_again(
    over_http: Counterpart, draft: Campaign, manager: Account, drain: Drain
) -> None:
    over_http.fail(kind="status", status=500, times=5)
    with manager.acting():
        launch.start(draft.id)
    drain(allow_dead=True)

    with manager.acting():
        failed = campaigns.get(draft.id)
        progress = launch.progress_of([failed])[draft.id]
        launch.start(draft.id)
    drain()

    assert (failed.status, progress.state, progress.step) == ("Draft", "failed", "service")
    assert progress.error is not None
    assert progress.error["code"] == "service_unavailable"
    with manager.acting():
        assert campaigns.get(draft.id).status == "Active"
    assert over_http.counts()["effects"]["open"] == 1
