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
    assert made["config"]["geofence"] == {**FENCE, "polygon": None, "when_uncertain": "accept"}
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


def test_campaigns_are_sorted_page_by_page(client, create, manager):
    for name in ("Beta", "alfa", "Gamma"):
        create(name=name)

    def listed(sort):
        names, cursor = [], {}
        while cursor is not None:
            page = client.get(URL, params={"limit": 1, "sort": sort, **cursor}, token=manager.token).json
            names += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
        return names

    assert listed("name") == ["alfa", "Beta", "Gamma"]
    assert listed("-name") == ["Gamma", "Beta", "alfa"]
    assert listed("created_at") == ["Beta", "alfa", "Gamma"]
    assert sorted(listed("starts_at")) == sorted(listed("-starts_at")) == ["Beta", "Gamma", "alfa"]


def test_cursor_of_another_order_is_refused(client, create, manager):
    for name in ("Beta", "alfa"):
        create(name=name)
    page = client.get(URL, params={"limit": 1, "sort": "name"}, token=manager.token).json

    response = client.get(URL, params={"sort": "-name", "cursor": page["next_cursor"]}, token=manager.token)

    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "cursor")


def test_campaigns_are_filtered_by_every_parameter(client, create, manager, act):
    config = {"starts_at": "2030-03-01T00:00:00Z", "ends_at": "2030-05-01T00:00:00Z"}
    drop = create(name="Drop", type="Locker", config=config)
    create(name="La PLAZA nueva, 100 % Rioja")
    act(create(name="Old"), "archive", "PUT")

    def named(query):
        answer = client.get(f"{URL}?{query}", token=manager.token)
        assert answer.status_code == 200, answer.text
        return {item["name"] for item in answer.json["items"]}

    plaza = "La PLAZA nueva, 100 % Rioja"
    assert named("status=Draft&status=Paused") == {"Drop", plaza}
    assert named("status=Active") == set()
    assert named("type=Locker&status=Draft") == {"Drop"}
    assert named("archived=only") == {"Old"}
    assert named("archived=all") == {"Drop", plaza, "Old"}
    assert named("name=plaza") == named("q=rioja%20nueva") == named("name=%25") == {plaza}
    assert named(f"created_from={drop['created_at']}") == {"Drop", plaza}
    assert named(f"created_to={drop['created_at']}") == set()
    assert named("starts_from=2030-03-01T01:00:00%2B01:00&ends_to=2030-06-01T00:00:00Z") == {"Drop"}
    assert named("starts_to=2030-03-01T00:00:00Z") == named("ends_from=2030-05-01T00:00:01Z") == set()


def test_list_counts_enabled_codes(client, create, manager, act):
    made = [create(name=name) for name in ("Two", "None")]
    codes = [act(made[0], "codes", label=label).json for label in ("Entrance", "Bar", "Stage")]
    act(made[0], f"codes/{codes[0]['id']}/disable", "PUT")

    listed = client.get(URL, token=manager.token).json

    assert {item["name"]: item["code_count"] for item in listed["items"]} == {"Two": 2, "None": 0}


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

    current = {"If-Match": f'"{live["version"]}"'}
    response = put(live, current, type="Locker", config=live["config"] | {"timezone": "Asia/Tokyo"})
    allowed = put(live, current, config=live["config"] | {"geofence": FENCE})

    assert (response.status_code, response.json["code"]) == (409, "fixed_since_launch")
    assert response.json["fields"] == ["type", "config.timezone"]
    assert allowed.status_code == 200
    (refused, _) = entries("campaign.update")
    assert (refused["outcome"], refused["reason"]) == ("refused", "fixed_since_launch")


def test_patch_changes_single_fields_and_null_resets(create, patch, entries):
    limit = {"per_user": {"count": 1, "window": "day"}, "total": {"count": 9, "window": "lifetime"}}
    made = create(config={"geofence": FENCE, "scan_limit": limit, "max_lateness_s": 60})

    body = {"config": {"geofence": {"radius_m": 99}, "scan_limit": {"total": None}, "max_lateness_s": None}}
    response = patch(made, body, {"If-Match": '"1"', "Content-Type": "application/merge-patch+json"})

    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    changed = response.json
    expected = {
        "geofence": made["config"]["geofence"] | {"radius_m": 99},
        "scan_limit": made["config"]["scan_limit"] | {"total": None},
        "max_lateness_s": 86400,
    }
    assert changed["config"] == made["config"] | expected
    assert (changed["name"], changed["type"]) == (made["name"], made["type"])
    (entry,) = entries("campaign.update")
    assert entry["details"]["after"] == {
        "config.geofence.radius_m": 99,
        "config.max_lateness_s": 86400,
        "config.scan_limit.total.count": None,
        "config.scan_limit.total.window": None,
    }


def test_patch_without_a_change_keeps_the_version(create, patch):
    made = create()

    assert patch(made, {"name": made["name"], "config": {}}).json == made
    assert patch(made, {}).json == made


def test_invalid_patch_is_refused_by_field(create, patch):
    made = create(config={"geofence": FENCE})

    refused = {
        "config.geofence.lat": patch(made, {"config": {"geofence": {"lat": 91}}}),
        "config.limits": patch(made, {"config": {"limits": {}}}),
        "config.ends_at": patch(made, {"config": {"ends_at": "tomorrow"}}),
        "name": patch(made, {"name": None}),
        "status": patch(made, {"status": "Active"}),
        "config.timezone": patch(made, {"config": {"timezone": "Mars/Olympus"}}),
    }

    answers = {field: (answer.status_code, answer.json["errors"][0]["field"]) for field, answer in refused.items()}
    assert answers == {field: (422, field) for field in refused}


def test_change_of_active_campaign_needs_its_version(client, campaign, manager, put, patch, act):
    live = client.get(f"{URL}/{campaign().id}", token=manager.token)
    made, current, outdated = live.json, {"If-Match": live.headers["etag"]}, {"If-Match": '"1"'}

    def answers(headers):
        changes = (put(made, headers), patch(made, {}, headers), act(made, "versions/1/revert", headers=headers))
        return [answer.status_code for answer in changes]

    assert answers(None) == [428] * 3
    assert answers(outdated) == [412] * 3
    assert answers(current) == answers({"If-Match": f'"{made["version"]}"'}) == [200] * 3
    act(made, "pause")
    assert [put(made).status_code, patch(made, {"name": "Other"}).status_code] == [200, 200]


def test_unchanged_campaign_is_not_sent_again(client, create, manager, act):
    made = create()
    act(made, "codes", label="Entrance")

    def read(etag):
        return client.get(f"{URL}/{made['id']}", token=manager.token, headers={"If-None-Match": etag})

    before = read('"0"').headers["etag"]
    unchanged = read(before)
    act(made, "codes", label="Bar")
    changed = read(before)

    assert (unchanged.status_code, changed.status_code, changed.json["code_count"]) == (304, 200, 2)


def test_clone_is_a_new_draft(client, create, manager, entries):
    made = create(config={"geofence": FENCE, "starts_at": "2020-01-01T00:00:00Z"})

    response = client.post(f"{URL}/{made['id']}/clone", json={"name": "Again"}, token=manager.token)

    assert response.status_code == 201
    clone = response.json
    assert client.get(response.headers["location"], token=manager.token).json == clone
    assert (clone["name"], clone["status"], clone["version"]) == ("Again", "Draft", 1)
    assert clone["config"] == made["config"] | {"starts_at": None}
    (entry,) = entries("campaign.clone")
    assert (str(entry["record_id"]), entry["details"]["after"]["cloned_from"]) == (clone["id"], made["id"])


def test_versions_are_listed_read_and_reverted(client, create, manager, patch, act, entries):
    made = create(config={"geofence": FENCE})
    patch(made, {"name": "Winter", "config": {"geofence": None}})

    def get(path):
        return client.get(f"{URL}/{made['id']}/versions{path}", token=manager.token).json

    newest = get("?limit=1")
    oldest = get(f"?limit=1&cursor={newest['next_cursor']}")
    reverted = act(made, "versions/1/revert")

    assert [one["version"] for one in newest["items"] + oldest["items"]] == [2, 1]
    assert newest["items"][0]["changed"] == ["name", "config.geofence"]
    assert newest["items"][0]["created_by"] == str(manager.user_id)
    assert oldest["items"][0] == get("/1")
    contents = {name: made[name] for name in ("name", "type", "config")}
    assert {name: reverted.json[name] for name in contents} == contents
    assert (reverted.json["version"], get("/3")["reverted_to"]) == (3, 1)
    (entry,) = entries("campaign.revert")
    assert (entry["details"]["after"]["reverted_to"], entry["details"]["before"]["name"]) == (1, "Winter")
    assert act(made, "versions/9/revert").status_code == 404
