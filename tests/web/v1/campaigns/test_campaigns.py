"""Test the resources of campaigns: list, create, read and configure."""

URL = "/api/v1/campaigns"
FENCE = {"lat": 40.4168, "lon": -3.7038, "radius_m": 250}


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


def test_new_campaign_has_an_audit_entry(create, manager, entries):
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


def test_put_replaces_all_fields(client, create, manager, put, entries):
    made = create(config={"geofence": FENCE})

    response = put(made, {"If-Match": '"1"'}, name="Winter", config={"timezone": "Europe/Madrid"})

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


def test_put_of_outdated_campaign_is_refused(client, create, manager, put):
    made = create()
    put(made, name="First")

    response = put(made, {"If-Match": '"1"'}, name="Second")

    assert (response.status_code, response.json["code"]) == (412, "precondition_failed")
    assert client.get(f"{URL}/{made['id']}", token=manager.token).json["name"] == "First"


def test_put_without_configuration_is_refused(client, create, manager):
    made = create()

    response = client.put(f"{URL}/{made['id']}", json={"name": "x", "type": "QR"}, token=manager.token)

    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "config")


def test_put_of_fixed_fields_names_them(client, campaign, manager, put, entries):
    live = client.get(f"{URL}/{campaign().id}", token=manager.token).json

    response = put(live, type="Locker", config=live["config"] | {"timezone": "Asia/Tokyo"})
    allowed = put(live, config=live["config"] | {"geofence": FENCE})

    assert (response.status_code, response.json["code"]) == (409, "fixed_since_launch")
    assert response.json["fields"] == ["type", "config.timezone"]
    assert allowed.status_code == 200
    (refused, _) = entries("campaign.update")
    assert (refused["outcome"], refused["reason"]) == ("refused", "fixed_since_launch")
