"""Test the refresh of the overview, as a job."""

from datetime import timedelta

import pytest

from models.core import context
from models.core.database import transaction
from models.insights import overview
from models.jobs.ledger import enqueue
from tests.fixtures.campaigns import NOON


@pytest.mark.parametrize("hour", [NOON, None])
def test_refresh_counts_the_requested_hour(campaign, put_scan, fan, manager, drain, hour):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    put_scan(summer, user, scan_time=NOON + timedelta(hours=1))
    with transaction(context.for_brand_job(summer.brand_id)):
        enqueue("overview.refresh", summer.id, hour, unique="while_waiting")

    assert drain() == ["overview.refresh"]

    with manager.acting():
        assert overview.overview().totals.accepted == (1 if hour else 2)


def test_refreshes_that_wait_together_run_once(campaign, drain):
    summer = campaign()
    for _ in range(3):
        with transaction(context.for_brand_job(summer.brand_id)):
            enqueue("overview.refresh", summer.id, NOON, unique="while_waiting")

    assert drain() == ["overview.refresh"]


def test_refresh_of_campaign_of_another_brand_counts_nothing(campaign, put_scan, fan, make_brand, manager, drain):
    summer, other = campaign(), make_brand("Other")
    put_scan(summer, fan().user_id)
    with transaction(context.for_brand_job(other["id"])):
        enqueue("overview.refresh", summer.id, None)

    drain()

    with manager.acting():
        assert overview.overview().totals.scans == 0
