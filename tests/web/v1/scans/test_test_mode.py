"""Test mode over HTTP: scans are decided and answered, and have no consequence."""

from datetime import timedelta

import pytest

from models.core.database import now
from models.scans import received_tests
from tests.fixtures.scans import FENCE, NEW_YORK, scan_request

ONE = {"count": 1, "window": "lifetime"}
LIMITS = {"per_user": ONE, "per_device": ONE, "total": ONE}
UNTOUCHED = (
    "app.jobs",
    "app.limit_counters",
    "app.scan_refusals",
    "public.contacts",
    "public.engagement_events",
    "public.scan_rollups",
    "app.webhook_outbox",
)


@pytest.fixture
def rows_of(query):
    """`rows_of(table)`: the number of rows of a table."""
    return lambda table: query(f"select count(*) from {table}")[0][0]


@pytest.fixture
def go_live(client, manager):
    """`go_live(campaign)`: switch test mode off. Return the response."""

    def change(made, **headers):
        url = f"/api/v1/campaigns/{made.id}"
        match = {"If-Match": client.get(url, token=manager.token).headers["etag"]}
        return client.patch(url, json={"config": {"test_mode": False}}, token=manager.token, headers=match | headers)

    return change


def test_scan_in_test_mode_is_answered_and_has_no_consequence(
    phone, fan, client, campaign, code_of, stored, rows_of, manager
):
    made = campaign(geofence=FENCE, scan_limit=LIMITS, test_mode=True)
    code, device = code_of(made), phone()
    before = {table: rows_of(table) for table in UNTOUCHED}
    body = device.body(code)

    first, again, second = device.send(body), device.send(body), device.scan(code)
    outside = phone(place=NEW_YORK).scan(code)
    incomplete = phone(account=fan()).scan(code)

    assert [(answer.status_code, answer.json["is_test"]) for answer in (first, again, second)] == [
        (201, True),
        (200, True),
        (201, True),
    ]
    assert (outside.json["code"], incomplete.json["code"]) == ("geofence_outside", "consent_required")
    assert [(scan["is_test"], scan["new_device"]) for scan in stored()] == [(True, False)] * 3
    assert {table: rows_of(table) for table in UNTOUCHED} == before
    shown = client.get(f"/api/v1/campaigns/{made.id}", token=manager.token).json
    assert shown["config"]["test_mode"] is True
    last = stored()[-1]["received_at"].isoformat().replace("+00:00", "Z")
    assert shown["test_scans"] == {"count": 3, "last_at": last}


def test_fan_who_tested_scans_for_real_afterwards(
    phone, client, campaign, code_of, stored, limit_counts, go_live, drain, mailbox, manager
):
    made = campaign(scan_limit=LIMITS, test_mode=True)
    code, device = code_of(made), phone()
    body = device.body(code)
    device.send(body)

    assert go_live(made).status_code == 200
    repeated, real, full = device.send(body), device.scan(code), device.scan(code)
    drain()

    assert (repeated.status_code, repeated.json["is_test"]) == (200, True)
    assert (real.status_code, real.json["is_test"]) == (201, False)
    assert full.json["code"] == "cap_exhausted"
    assert [(scan["is_test"], scan["new_device"]) for scan in stored()] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert [limit_counts(scope) for scope in ("user", "device", "campaign")] == [[1]] * 3
    totals = client.get("/api/v1/analytics/overview", token=manager.token).json["totals"]
    assert (totals["accepted"], totals["rejected"], totals["reach"]) == (1, 1, 1)
    shown = client.get(f"/api/v1/campaigns/{made.id}", token=manager.token)
    assert shown.json["test_scans"]["count"] == 1


def test_late_scan_is_judged_by_the_mode_at_its_receipt(phone, campaign, code_of, go_live):
    made = campaign(test_mode=True, age=timedelta(hours=2))
    code, made_at = code_of(made), now() - timedelta(hours=1)

    during = phone().scan(code, scanned_at=made_at)
    go_live(made)
    after = phone().scan(code, scanned_at=made_at)

    assert [(answer.status_code, answer.json["is_test"], answer.json["late"]) for answer in (during, after)] == [
        (201, True, True),
        (201, False, True),
    ]


def test_device_of_two_campaigns_in_one_batch_is_new_once_it_counts(campaign, code_of, fan, recorder, stored, query):
    test, real = code_of(campaign(test_mode=True)), code_of(campaign("Other"))
    person = fan("essential")
    seen = "select last_seen is not null from public.device_fingerprints"

    recorder.record([scan_request(person, test)])
    assert query(seen) == [(False,)]
    recorder.record([scan_request(person, test), scan_request(person, real)])
    assert query(seen) == [(True,)]
    query("update public.device_fingerprints set last_seen = now() - interval '1 day' returning 1")
    recorder.record([scan_request(person, test)])

    assert query("select last_seen < now() - interval '1 hour' from public.device_fingerprints") == [(True,)]
    assert [scan["is_test"] for scan in stored() if scan["new_device"]] == [False]


def test_tests_of_one_batch_are_not_limited(campaign, code_of, fan, recorder, limit_counts):
    code, person = code_of(campaign(test_mode=True, scan_limit=LIMITS)), fan("essential")

    outcomes = recorder.record([scan_request(person, code) for _ in range(3)])

    assert [outcome.is_test for outcome in outcomes] == [True] * 3
    assert limit_counts("user") == []


def test_disabled_code_of_campaign_in_test_mode_is_not_counted(phone, client, campaign, code_of, manager, rows_of):
    made = campaign(test_mode=True)
    token, url = code_of(made), f"/api/v1/campaigns/{made.id}/codes"
    (code,) = client.get(url, token=manager.token).json["items"]
    client.put(f"{url}/{code['id']}/disable", token=manager.token)

    assert phone().scan(token).json["code"] == "unknown_code"
    assert rows_of("app.scan_refusals") == 0


def test_scan_of_configuration_without_a_test_mode_counts(phone, campaign, code_of, query):
    made = campaign()
    query("update public.campaigns set config = config - 'test_mode' returning 1")

    answer = phone().scan(code_of(made))

    assert (answer.status_code, answer.json["is_test"]) == (201, False)
    assert query("select actor from app.jobs") == [("scan.score",)]


def test_code_says_that_its_campaign_is_in_test_mode(client, campaign, code_of, go_live):
    made = campaign(test_mode=True)
    url = f"/api/v1/qr/codes/{code_of(made)}"

    before = client.get(url).json["test_mode"]
    go_live(made)

    assert (before, client.get(url).json["test_mode"]) == (True, False)


def test_test_mode_is_not_switched_on_after_the_launch(client, campaign, go_live, manager):
    made = campaign(test_mode=True)
    url = f"/api/v1/campaigns/{made.id}"
    blind = client.patch(url, json={"config": {"test_mode": False}}, token=manager.token)
    go_live(made)
    match = {"If-Match": client.get(url, token=manager.token).headers["etag"]}

    on = client.patch(url, json={"config": {"test_mode": True}}, token=manager.token, headers=match)
    reverted = client.post(f"{url}/versions/1/revert", token=manager.token, headers=match)

    assert blind.status_code == 428
    assert (on.status_code, on.json["code"], on.json["fields"]) == (409, "fixed_since_launch", ["config.test_mode"])
    assert (reverted.status_code, reverted.json["config"]["test_mode"]) == (200, False)


def test_clone_of_campaign_in_test_mode_counts_its_scans(client, campaign, manager):
    made = campaign(test_mode=True)

    clone = client.post(f"/api/v1/campaigns/{made.id}/clone", json={"name": "Next"}, token=manager.token)

    assert clone.json["config"]["test_mode"] is False


def test_members_see_test_scans_of_their_own_campaigns(
    client, campaign, put_scan, fan, manager, member, assign, make_brand
):
    seen, unseen = campaign(), campaign("Other")
    for made in (seen, seen, unseen):
        put_scan(made, fan().user_id, is_test=True)
    put_scan(seen, fan().user_id)
    creator = assign(seen, member("Creator"))

    def counts(account):
        items = client.get("/api/v1/campaigns", token=account.token).json["items"]
        return {item["name"]: item["test_scans"]["count"] for item in items}

    assert counts(manager) == {"Summer": 2, "Other": 1}
    assert counts(creator) == {"Summer": 2}
    for account, found in ((creator, {seen.id}), (member(brand=make_brand()), set())):
        with account.acting():
            assert set(received_tests.find([seen.id, unseen.id])) == found
    tag = client.get(f"/api/v1/campaigns/{seen.id}", token=manager.token).headers["etag"]
    put_scan(seen, fan().user_id, is_test=True)
    changed = client.get(f"/api/v1/campaigns/{seen.id}", token=manager.token, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json["test_scans"]["count"]) == (200, 3)
