"""Overview over HTTP."""

from datetime import timedelta

import pytest

from models.core import context
from models.core.database import new_id, transaction
from models.insights import overview
from tests.fixtures.campaigns import NOON

URL = "/api/v1/analytics/overview"


@pytest.fixture
def played(campaign, put_scan, fan):
    """Return a campaign with counted scans of two hours."""
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    put_scan(summer, user, rules=("device.shared",), band="review")
    put_scan(summer, user, decision="rejected", reason="geofence_outside")
    put_scan(summer, user, scan_time=NOON + timedelta(hours=1), band=None, scored_at=None)
    with transaction(context.for_brand_job(summer.brand_id)):
        overview.refresh(summer.id, None)
    return summer


def test_overview_contains_every_number_and_its_definition(client, played, manager):
    response = client.get(URL, token=manager.token)

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    found = response.json
    numbers = {
        "scans": 4,
        "accepted": 3,
        "rejected": 1,
        "rejected_by_reason": {"geofence_outside": 1},
        "unstored_by_reason": {},
        "flagged": 1,
        "flagged_by_rule": {"device.shared": 1},
        "under_review": 1,
        "provisional_share": 0.6667,
        "reach": 0,
        "engagement_rate": None,
        "engagement_rate_reason": "no conversions recorded yet",
        "roi": None,
        "roi_reason": "no conversions and no costs recorded yet",
    }
    assert found["totals"] == numbers
    assert found["campaigns"] == [numbers | {"id": str(played.id), "name": "Summer", "status": "Active"}]
    assert (found["pending"], found["settled"], found["more_campaigns"]) == (1, False, False)
    assert found["window"] == {"from": None, "to": None}
    assert set(numbers) - {"engagement_rate_reason", "roi_reason"} <= set(found["definitions"])


def test_overview_of_window_counts_scans_of_its_hours(client, played, manager):
    window = {"from": "2026-11-22T13:00:00+01:00", "to": "2026-11-22T13:00:00Z", "campaign_id": str(played.id)}

    found = client.get(URL, params=window, token=manager.token).json

    assert found["window"] == {"from": "2026-11-22T12:00:00Z", "to": "2026-11-22T13:00:00Z"}
    assert (found["totals"]["accepted"], found["totals"]["reach"], found["pending"]) == (2, 1, 0)


INVALID = [
    ({"from": "2026-11-22T12:00:00Z", "to": "2026-11-22T12:00:00Z"}, "to"),
    ({"from": "yesterday"}, "from"),
    ({"from": "9999-01-01T00:00:00Z", "to": "2026-11-22T12:00:00Z"}, "from"),
    ({"from": "2026-11-22T12:00:00"}, "from"),
    ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
    ({"to": "9999-12-31T23:59:59-14:00"}, "to"),
    ({"from": "2026-11-22T00:00:00+05:30", "to": "2026-11-23T00:00:00Z"}, "from"),
    ({"to": "2026-11-22T12:00:00.000001Z"}, "to"),
    ({"campaign_id": "42"}, "campaign_id"),
    ({"since": "2026"}, "since"),
]
"""Queries and the field that is wrong."""


def test_both_invalid_bounds_of_the_window_are_named(client, manager):
    bounds = {"from": "9999-01-01T00:00:00Z", "to": "2026-11-22T12:00:00.5Z"}

    refused = client.get(URL, params=bounds, token=manager.token)

    assert [error["field"] for error in refused.json["errors"]] == ["from", "to"]


def test_invalid_query_is_refused_by_field(client, manager):
    for query, field in INVALID:
        response = client.get(URL, params=query, token=manager.token)

        assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, [field]), query


def test_overview_without_campaigns_is_empty(client, manager):
    found = client.get(URL, token=manager.token).json

    assert (found["totals"]["scans"], found["campaigns"], found["pending"]) == (0, [], 0)


def test_overview_needs_permission_and_shows_the_own_brand(client, played, fan, admin, member, make_brand, assign):
    stranger = member("Brand Admin", make_brand("Other"))

    assert client.get(URL).status_code == 401
    assert client.get(URL, token=fan().token).status_code == 403
    assert client.get(URL, token=admin.token).status_code == 403
    assert client.get(URL, token=stranger.token).json["totals"]["scans"] == 0
    assert client.get(URL, params={"campaign_id": str(played.id)}, token=stranger.token).status_code == 404
    assert client.get(URL, params={"campaign_id": str(new_id())}, token=stranger.token).status_code == 404
    assert client.get(URL, token=member("Creator").token).json["totals"]["scans"] == 0
    assert client.get(URL, token=assign(played, member("Creator")).token).json["totals"]["scans"] == 4
