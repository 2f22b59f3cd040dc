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


@pytest.fixture
def refresh(drain, mailbox):
    """`refresh(campaign)`: run the refresh of the overview and what follows from it."""

    def refresh(campaign):
        with transaction(context.for_brand_job(campaign.brand_id)):
            enqueue("overview.refresh", campaign.id, None)
        return drain()

    return refresh


def test_limit_that_is_nearly_used_up_is_announced_once(campaign, member, refresh, query, mailbox):
    limit = {"total": {"count": 10, "window": "day"}}
    plaza, free = campaign("Plaza", scan_limit=limit, timezone="Asia/Tokyo"), campaign("Free")
    boss = member("Brand Admin")

    def use(count, day="now()"):
        query(
            "insert into app.limit_counters (campaign_id, brand_id, scope, subject, bucket, used)"
            f" values (%s, %s, 'campaign', %s, to_char(({day}) at time zone 'Asia/Tokyo', 'YYYY-MM-DD'), %s)"
            " on conflict (campaign_id, scope, subject, bucket) do update set used = excluded.used",
            *(plaza.id, plaza.brand_id, plaza.id, count),
        )
        refresh(plaza)
        refresh(free)
        return query("select details ->> 'used' from notifications where user_id = %s order by id", boss.user_id)

    use(10, "now() - interval '1 day'")
    assert use(8) == []
    assert use(9) == [("9",)]
    assert use(10) == [("9",)]
    query("update app.limit_notices set bucket = '2000-01-01'")
    query("update notifications set created_at = created_at - interval '1 day'")
    assert use(10) == [("9",), ("10",)]
    assert [m["Subject"] for m in mailbox.messages if m["To"] == boss.email] == ["Plaza is near its limit"] * 2


def test_limit_of_a_paused_campaign_is_not_announced(campaign, member, refresh, query):
    plaza = campaign("Plaza", scan_limit={"total": {"count": 1, "window": "lifetime"}})
    member("Brand Admin")
    query(
        "insert into app.limit_counters (campaign_id, brand_id, scope, subject, bucket, used)"
        " values (%s, %s, 'campaign', %s, 'lifetime', 1)",
        *(plaza.id, plaza.brand_id, plaza.id),
    )
    query("update campaigns set status = 'Paused' where id = %s", plaza.id)

    assert refresh(plaza) == ["overview.refresh"]

    query("update campaigns set status = 'Active' where id = %s", plaza.id)
    assert "notification.create" in refresh(plaza)
    assert "notification.create" not in refresh(plaza)
