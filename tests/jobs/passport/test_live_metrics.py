"""Live metrics: a request asks Coliseum by a job, and gets the last known counts if Coliseum fails."""

from datetime import UTC, datetime, timedelta

import pytest

from models.audiences import engagement_events
from models.core import context
from models.core.database import new_id, transaction

COUNTERPART = "coliseum"


@pytest.fixture
def read(client, manager):
    """`read(campaign, by=manager)`: the answer to a request for the live metrics."""

    def send(campaign, by=manager):
        return client.get(f"/api/v1/campaigns/{campaign.id}/live-metrics", token=by.token)

    return send


@pytest.fixture
def check_in(fan):
    def record(campaign, at):
        with transaction(context.for_brand_job(campaign.brand_id)):
            event = {"brand_id": campaign.brand_id, "campaign_id": campaign.id, "user_id": fan().user_id}
            engagement_events.record("check_in", **event, source_id=new_id(), occurred_at=at)

    return record


def test_request_waits_for_the_counts_of_coliseum(over_http, campaign, check_in, drain, read, request):
    summer, at = campaign(), datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    for _ in range(2):
        check_in(summer, at)
    check_in(summer, at - timedelta(hours=2))
    drain()
    request.getfixturevalue("worker")

    answer = read(summer)
    again = read(summer)

    assert (answer.status_code, answer.json["totals"]) == (200, {"check_in": 3})
    assert answer.json["minutes"] == [{"minute": f"{at:%Y-%m-%dT%H:%M}:00Z", "kind": "check_in", "n": 2}]
    assert again.json == answer.json
    assert over_http.counts()["calls"]["metrics"] == 1


def test_last_counts_are_returned_while_coliseum_fails(over_http, campaign, check_in, drain, read, query, request):
    summer = campaign()
    check_in(summer, datetime.now(UTC))
    drain()
    request.getfixturevalue("worker")
    known = read(summer)
    query("delete from app.job_keys")  # the answer is no longer fresh
    over_http.fail("status", status=500)

    answer = read(summer)

    assert (answer.status_code, answer.json) == (200, known.json)
    assert answer.json["totals"] == {"check_in": 1}
    assert over_http.counts()["calls"]["metrics"] == 2


def test_live_metrics_of_an_unseen_campaign_are_not_found(campaign, read, member):
    assert read(campaign(), by=member("Creator")).status_code == 404
