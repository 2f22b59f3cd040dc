"""Test campaigns over HTTP."""

import xml.etree.ElementTree as ET
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from models.campaigns import codes
from models.core import context
from models.core.database import now, rows, transaction

URL = "/api/v1/campaigns"
PNG = b"\x89PNG\r\n\x1a\n"
FENCE = {"lat": 40.4168, "lon": -3.7038, "radius_m": 250}


@pytest.fixture
def create(client, manager):
    """`create(**body)`: create a campaign over HTTP. Return the response's JSON."""

    def post(**body):
        response = client.post(URL, json={"name": "Summer", "type": "QR"} | body, token=manager.token)
        assert response.status_code == 201, response.text
        return response.json

    return post


def put(client, account, campaign, headers=None, **changes):
    body = {name: campaign[name] for name in ("name", "type", "config")} | changes
    return client.put(f"{URL}/{campaign['id']}", json=body, token=account.token, headers=headers)


def entries(action, record_id=None):
    with transaction(context.for_system_job()):
        return rows(
            "SELECT outcome, reason, user_id, record_id, details FROM public.audit_logs WHERE action = %s"
            " AND coalesce(record_id = %s, true) ORDER BY timestamp",
            (action, record_id),
        )


def test_campaign_is_created_as_draft(client, manager):
    response = client.post(
        URL, json={"name": "Summer", "type": "QR", "config": {"geofence": FENCE}}, token=manager.token
    )

    assert response.status_code == 201
    made = response.json
    assert response.headers["location"] == f"{URL}/{made['id']}"
    assert response.headers["etag"] == '"1"'
    assert (made["name"], made["type"], made["status"], made["version"]) == ("Summer", "QR", "Draft", 1)
    assert made["config"]["geofence"] == {**FENCE, "when_uncertain": "accept"}
    assert made["config"]["consent_tiers"] == ["essential"]
    assert client.get(response.headers["location"], token=manager.token).json == made


def test_new_campaign_has_an_audit_entry(create, manager):
    made = create()

    (entry,) = entries("campaign.create")
    assert (str(entry["record_id"]), entry["user_id"], entry["outcome"]) == (made["id"], manager.user_id, "ok")
    assert entry["details"]["after"]["name"] == "Summer"


INVALID = [
    ({"type": "QR"}, "name"),
    ({"name": "", "type": "QR"}, "name"),
    ({"name": " \t", "type": "QR"}, "name"),
    ({"name": "x" * 201, "type": "QR"}, "name"),
    ({"name": "x", "type": "Billboard"}, "type"),
    ({"name": "x", "type": "QR", "status": "Active"}, "status"),
    ({"name": "x", "type": "QR", "config": None}, "config"),
    ({"name": "x", "type": "QR", "config": {"geofence": {**FENCE, "lat": 90.1}}}, "config.geofence.lat"),
    ({"name": "x", "type": "QR", "config": {"geofence": {**FENCE, "lat": "40"}}}, "config.geofence.lat"),
    ({"name": "x", "type": "QR", "config": {"geofence": {"lat": 1, "lon": 1}}}, "config.geofence.radius_m"),
    ({"name": "x", "type": "QR", "config": {"limits": {}}}, "config.limits"),
    ({"name": "x", "type": "QR", "config": {"timezone": "Mars/Olympus"}}, "config.timezone"),
    ({"name": "x", "type": "QR", "config": {"starts_at": "0001-01-01T00:00:00+14:00"}}, "config.starts_at"),
    ({"name": "x", "type": "QR", "config": {"starts_at": "tomorrow"}}, "config.starts_at"),
    ({"name": "x", "type": "QR", "config": {"consent_tiers": ["essential"] * 2}}, "config.consent_tiers"),
    (
        {"name": "x", "type": "QR", "config": {"scan_limit": {"total": {"count": 2**63, "window": "day"}}}},
        "config.scan_limit.total.count",
    ),
]
"""Bodies and the field that is wrong."""


def test_invalid_campaign_is_refused_by_field(client, manager):
    for body, field in INVALID:
        response = client.post(URL, json=body, token=manager.token)

        assert (response.status_code, response.json["code"]) == (422, "invalid"), body
        assert [error["field"] for error in response.json["errors"]] == [field], body


def test_unknown_time_zone_is_named_with_the_other_invalid_fields(client, manager):
    config = {"timezone": "Mars/Olympus", "geofence": {**FENCE, "lat": 90.1}, "limits": {}}

    response = client.post(URL, json={"name": "", "type": "QR", "config": config}, token=manager.token)

    named = {error["field"] for error in response.json["errors"]}
    assert named == {"name", "config.timezone", "config.geofence.lat", "config.limits"}


def test_campaigns_are_listed_page_by_page(client, create, manager):
    made = [create(name=f"Number {n}")["id"] for n in range(5)]
    seen, cursor = [], None

    while True:
        page = client.get(URL, params={"limit": 2} | ({"cursor": cursor} if cursor else {}), token=manager.token).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == made[::-1]


def test_campaigns_are_filtered_by_type_and_status(client, create, manager):
    create(name="QR")
    create(name="Drop", type="Locker")

    drops = client.get(URL, params={"type": "Locker", "status": "Draft"}, token=manager.token).json
    active = client.get(URL, params={"status": "Active"}, token=manager.token).json

    assert [item["name"] for item in drops["items"]] == ["Drop"]
    assert active["items"] == []


def test_campaigns_are_filtered_by_part_of_the_name_in_any_case(client, create, manager):
    for name in ("Plaza Mayor", "La PLAZA nueva", "100 % Rioja"):
        create(name=name)

    def named(text):
        found = client.get(URL, params={"name": text}, token=manager.token).json
        return [campaign["name"] for campaign in found["items"]]

    assert named("plaza") == ["La PLAZA nueva", "Plaza Mayor"]
    assert named("%") == ["100 % Rioja"]


def test_put_replaces_all_fields(client, create, manager):
    made = create(config={"geofence": FENCE})

    response = put(client, manager, made, {"If-Match": '"1"'}, name="Winter", config={"timezone": "Europe/Madrid"})

    assert response.status_code == 200
    assert response.headers["etag"] == '"2"'
    changed = response.json
    assert (changed["name"], changed["config"]["timezone"], changed["config"]["geofence"]) == (
        "Winter",
        "Europe/Madrid",
        None,
    )
    (entry,) = entries("campaign.update")
    assert entry["details"]["before"]["name"] == "Summer"
    after = entry["details"]["after"]
    assert (after["name"], after["config.timezone"], after["config.geofence.lat"]) == ("Winter", "Europe/Madrid", None)
    assert entry["details"]["before"]["config.geofence.lat"] == FENCE["lat"]
    assert "type" not in after


def test_put_of_outdated_campaign_is_refused(client, create, manager):
    made = create()
    put(client, manager, made, name="First")

    response = put(client, manager, made, {"If-Match": '"1"'}, name="Second")

    assert (response.status_code, response.json["code"]) == (412, "precondition_failed")
    assert client.get(f"{URL}/{made['id']}", token=manager.token).json["name"] == "First"


def test_put_without_configuration_is_refused(client, create, manager):
    made = create()

    response = client.put(f"{URL}/{made['id']}", json={"name": "x", "type": "QR"}, token=manager.token)

    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "config")


def test_launch_runs_as_a_job(client, create, manager, drain):
    made = create()

    first = client.post(f"{URL}/{made['id']}/launch", token=manager.token)
    again = client.post(f"{URL}/{made['id']}/launch", token=manager.token)
    during = put(client, manager, made, name="Other")
    drain()
    job = client.get(first.headers["location"], token=manager.token).json
    live = client.get(f"{URL}/{made['id']}", token=manager.token).json
    once_more = client.post(f"{URL}/{made['id']}/launch", token=manager.token)

    assert first.status_code == again.status_code == 202
    assert first.json["id"] == again.json["id"]
    assert first.headers["location"] == again.headers["location"] == f"/api/v1/jobs/{first.json['id']}"
    assert (during.status_code, during.json["code"]) == (409, "launch_in_progress")
    assert (job["state"], job["progress"]) == ("done", {"done": 5, "total": 5, "message": "active"})
    assert (live["status"], live["launch_job_id"]) == ("Active", None)
    assert (once_more.status_code, once_more.json["code"]) == (409, "illegal_transition")
    assert (once_more.json["current"], once_more.json["allowed"]) == ("Active", ["pause", "complete"])


def test_launch_of_incomplete_campaign_names_missing_fields(client, create, manager):
    made = create(type="Event")

    response = client.post(f"{URL}/{made['id']}/launch", token=manager.token)

    assert (response.status_code, response.json["code"]) == (422, "not_ready")
    assert response.json["errors"] == [{"field": "config.ends_at", "reason": "must be set for an event"}]


def test_event_with_end_is_launched(client, create, manager):
    made = create(type="Event", config={"ends_at": (now() + timedelta(days=1)).isoformat()})

    assert client.post(f"{URL}/{made['id']}/launch", token=manager.token).status_code == 202


def test_put_of_fixed_fields_names_them(client, campaign, manager):
    live = client.get(f"{URL}/{campaign().id}", token=manager.token).json

    response = put(client, manager, live, type="Locker", config=live["config"] | {"timezone": "Asia/Tokyo"})
    allowed = put(client, manager, live, config=live["config"] | {"geofence": FENCE})

    assert (response.status_code, response.json["code"]) == (409, "fixed_since_launch")
    assert response.json["fields"] == ["type", "config.timezone"]
    assert allowed.status_code == 200
    (refused, _) = entries("campaign.update")
    assert (refused["outcome"], refused["reason"]) == ("refused", "fixed_since_launch")


def test_code_has_the_same_token_each_time(client, create, manager):
    made = create()

    response = client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    assert response.status_code == 201
    code = response.json
    assert (code["label"], code["campaign_id"], code["disabled_at"]) == ("Entrance", made["id"], None)
    assert str(codes.read_token(code["token"])) == code["id"]
    assert urlsplit(code["url"]).path == f"/s/{code['token']}"
    assert client.get(response.headers["location"], token=manager.token).json == code
    assert client.get(f"{URL}/{made['id']}/codes", token=manager.token).json == {"items": [code], "next_cursor": None}
    (entry,) = entries("code.create")
    assert entry["details"]["after"]["label"] == "Entrance"
    assert code["token"] not in str(entry)


def test_second_code_with_one_label_is_refused(client, create, manager):
    made = create()
    client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    response = client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    assert (response.status_code, response.json["code"], response.json["label"]) == (409, "label_taken", "Entrance")


def test_codes_are_listed_page_by_page(client, create, manager):
    made = create()
    labels = ["Entrance", "Bar", "Stage"]
    for label in labels:
        client.post(f"{URL}/{made['id']}/codes", json={"label": label}, token=manager.token)

    first = client.get(f"{URL}/{made['id']}/codes", params={"limit": 2}, token=manager.token).json
    rest = client.get(
        f"{URL}/{made['id']}/codes", params={"limit": 2, "cursor": first["next_cursor"]}, token=manager.token
    ).json

    assert [code["label"] for code in first["items"] + rest["items"]] == labels
    assert rest["next_cursor"] is None


def test_picture_of_code_is_svg(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": 'Bar <&> "Grill"'}, token=manager.token).json

    response = client.get(f"{URL}/{made['id']}/codes/{code['id']}/image.svg", token=manager.token)

    assert response.status_code == 200
    assert response.headers["content-type"] == "image/svg+xml"
    picture = ET.fromstring(response.content)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert picture[0].text == 'Bar <&> "Grill"'


def test_picture_of_code_is_png_of_the_requested_scale(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": "Bar"}, token=manager.token).json
    image = f"{URL}/{made['id']}/codes/{code['id']}/image.png"

    answers = [client.get(image, params=size, token=manager.token) for size in ({}, {"scale": 3})]
    refused = client.get(image, params={"scale": 41}, token=manager.token)

    assert [(answer.headers["content-type"], answer.content[:8]) for answer in answers] == [("image/png", PNG)] * 2
    (default, small) = (int.from_bytes(answer.content[16:20], "big") for answer in answers)
    assert default * 3 == small * 16
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "scale")


def test_picture_is_served_as_svg_only(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": "Bar"}, token=manager.token).json

    def ask(accept):
        image = f"{URL}/{made['id']}/codes/{code['id']}/image.svg"
        return client.get(image, token=manager.token, headers={"Accept": accept}).status_code

    assert [ask(accept) for accept in ("image/svg+xml", "image/avif,*/*;q=0.8", "application/json")] == [200, 200, 406]
