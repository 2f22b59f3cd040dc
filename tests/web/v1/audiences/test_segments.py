"""Endpoints of audiences: definitions and their versions, previews, members, explanations and counts."""

from datetime import UTC, datetime, timedelta

import pytest

from models.audiences import preview
from models.core.database import new_id
from models.identity import api_keys

URL = "/api/v1/audiences"
SPAIN = {"profile": {"field": "country", "op": "eq", "value": "ES"}}
SCANNED = {"event": {"kind": "scan", "count": {"op": "gte", "n": 2}}}
GRANTED = {"consent": {"tier": "marketing", "state": "granted"}}


@pytest.fixture
def make(client, manager):
    """`make(definition, name=…)`: the answer to a manager who creates a segment."""

    def send(definition, name="Segment"):
        return client.post(URL, token=manager.token, json={"name": name, "definition": definition})

    return send


@pytest.fixture
def add_contacts(query, manager):
    """`add_contacts(n, **columns)`: the ids of new contacts."""

    def run(n, **columns):
        names = ", ".join(["brand_id", *columns])
        places = ", ".join(["%s"] * (len(columns) + 1))
        sql = f"insert into contacts ({names}) select {places} from generate_series(1, %s) returning id"
        return [one for (one,) in query(sql, manager.brand_id, *columns.values(), n)]

    return run


@pytest.fixture
def read(client, manager):
    """`read(made, path, **parameters)`: the answer to a manager who reads something of a created segment."""

    def get(made, path="", by=None, **parameters):
        return client.get(f"{URL}/{made.json['id']}{path}", token=(by or manager).token, params=parameters)

    return get


def refused(answer):
    return answer.status_code, [error["field"] for error in answer.json["errors"]]


def test_segment_is_changed_by_its_version_and_keeps_its_versions(client, manager, make, read):
    made = make({"all": [SPAIN, SCANNED]})
    location, old = made.headers["Location"], {"If-Match": made.headers["ETag"]}

    changed = client.patch(location, token=manager.token, headers=old, json={"definition": {"all": [SPAIN]}})
    late = client.patch(location, token=manager.token, headers=old, json={"name": "Late"})
    diff = read(made, "/versions/1/diff").json

    assert (made.status_code, changed.status_code, late.status_code) == (201, 200, 412)
    assert (read(made).json["version"], read(made).json["name"]) == (2, "Segment")
    assert [one["version"] for one in read(made, "/versions").json["items"]] == [2, 1]
    assert [(one["path"], one["after"]) for one in diff["changes"]] == [("definition.all[1]", None)]


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"all": [SPAIN, {"profile": {"field": "shoe", "op": "is_set"}}]}, "definition.all[1].profile.field"),
        ({"profile": {"field": "birth_date", "op": "gt", "value": "soon"}}, "definition.profile.value"),
        ({"all": [SPAIN, {"not": SPAIN}]}, "definition.all[1]"),
        ({"not": {"not": {"not": {"not": {"not": {"not": SPAIN}}}}}}, "definition.not.not.not.not.not"),
        ({"any": [SPAIN] * 50 + [SCANNED]}, "definition.any"),
        ({"any": [{"all": [SPAIN] * 26}, {"all": [SPAIN] * 25}]}, "definition"),
        ({"segment": {"segment_id": str(new_id())}}, "definition.segment.segment_id"),
        ({**SPAIN, "geo": {"lat": 1, "lon": 1, "radius_m": 1}}, "definition"),
    ],
)
def test_wrong_definition_is_refused_with_the_path_of_its_part(make, query, definition, field):
    answer = make(definition)

    assert refused(answer) == (422, [field])
    assert query("select id from audience_segments") == []


def test_segment_of_another_brand_is_not_found(client, make, read, make_brand, member, add_contacts):
    made, stranger = make(SPAIN), member("Brand Admin", make_brand("Other"))
    (contact_id,) = add_contacts(1)
    etag = {"If-Match": made.headers["ETag"]}

    paths = ["", "/preview", "/members", "/counts", "/versions", "/computation", f"/members/{contact_id}/explain"]
    assert {path: read(made, path, by=stranger).status_code for path in paths} == dict.fromkeys(paths, 404)
    location = made.headers["Location"]
    assert client.patch(location, token=stranger.token, headers=etag, json={"name": "Mine"}).status_code == 404
    assert client.delete(location, token=stranger.token, headers=etag).status_code == 404
    assert client.get(URL, token=stranger.token).json["items"] == []


def test_archived_segment_is_read_and_not_changed(client, manager, make, read):
    made = make(SPAIN)
    location = made.headers["Location"]
    client.delete(location, token=manager.token, headers={"If-Match": made.headers["ETag"]})

    etag = {"If-Match": read(made).headers["ETag"]}
    change = client.patch(location, token=manager.token, headers=etag, json={"name": "Again"})
    again = make(SPAIN)

    assert read(made).json["archived_at"] is not None
    assert (change.status_code, change.json["code"]) == (409, "segment_archived")
    assert [one["id"] for one in client.get(URL, token=manager.token).json["items"]] == [again.json["id"]]


def test_preview_counts_contacts_by_consent_and_leaf(make, read, add_contacts, client, manager):
    add_contacts(20, country="ES")
    add_contacts(12, country="PT")
    add_contacts(3, country="FR")
    made = make({"any": [{"profile": {"field": "country", "op": "eq", "value": one}} for one in ("ES", "PT", "FR")]})

    counts = read(made, "/preview").json

    assert (counts["contacts"], counts["total"], counts["reachable"], counts["exact"]) == (35, 35, 0, True)
    assert counts["blocked"] == {"never": 35, "withdrawn": 0, "expired": 0, "opted_out": 0}
    assert [one["count"] for one in counts["leaves"]] == [20, 12, None]
    assert read(made).json["preview"] == counts
    unsaved = client.post(f"{URL}/preview", token=manager.token, json={"definition": SPAIN})
    assert unsaved.json["total"] == 20


def test_preview_of_a_large_brand_is_an_estimate(monkeypatch, make, read, add_contacts):
    monkeypatch.setattr(preview, "EXACT", 100)
    monkeypatch.setattr(preview, "SAMPLE", 400)
    add_contacts(700, country="ES")
    add_contacts(300, country="PT")

    made = make(SPAIN)
    counts = read(made, "/preview").json

    assert (counts["contacts"], counts["exact"]) == (1000, False)
    add_contacts(5)
    assert read(made, "/preview").json["contacts"] == 1000  # counted a moment ago
    assert 0.03 < counts["half_width"] < 0.07
    assert abs(counts["total"] - 700) < 3 * counts["half_width"] * 1000


def test_previews_of_a_brand_are_limited(client, manager, make, read, superuser):
    made = make(SPAIN)
    with superuser.cursor() as cursor:
        for place in range(1, preview.RUNNING + 1):
            key = f"preview:{manager.brand_id}:place:{place}"
            cursor.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (key,))
    answer = read(made, "/preview")
    superuser.cursor().execute("select pg_advisory_unlock_all()")

    assert (answer.status_code, answer.json["code"]) == (429, "too_many_previews")
    assert read(made, "/preview").status_code == 200


def test_members_are_paged_now_and_in_the_past(make, read, add_contacts, drain):
    first, second, third = sorted(add_contacts(3, country="ES"))
    made = make(SPAIN)
    drain()

    page = read(made, "/members", limit=2).json
    rest = read(made, "/members", limit=2, cursor=page["next_cursor"]).json
    before = read(made, "/members", as_of=(datetime.now(UTC) - timedelta(days=1)).isoformat()).json
    future = read(made, "/members", as_of=(datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    old = read(made, "/members", as_of=(datetime.now(UTC) - timedelta(days=401)).isoformat())

    assert [one["contact_id"] for one in page["items"]] == [str(first), str(second)]
    assert [one["contact_id"] for one in rest["items"]] == [str(third)]
    assert (before["items"], rest["next_cursor"]) == ([], None)
    assert refused(future) == refused(old) == (422, ["as_of"])


def test_counts_over_time_refuse_impossible_periods(make, read, add_contacts, drain):
    add_contacts(2, country="ES")
    made = make(SPAIN)
    drain()
    today = datetime.now(UTC).date()
    day = {back: str(today - timedelta(days=back)) for back in (-2, 1, 3, 40, 402)}

    default = read(made, "/counts").json
    hours = read(made, "/counts", **{"from": day[1], "to": day[1], "interval": "hour"}).json
    wrong = [{"to": day[-2]}, {"from": day[1], "to": day[3]}, {"from": day[402]}, {"from": day[40], "interval": "hour"}]
    answers = [read(made, "/counts", **parameters) for parameters in wrong]

    assert len(default["periods"]) == 30
    last = default["periods"][-1]
    assert (last["members"], last["entered"], last["left"]) == (2, 2, 0)
    assert (len(hours["periods"]), {one["members"] for one in hours["periods"]}) == (24, {0})
    assert [refused(answer) for answer in answers] == [(422, [field]) for field in ("to", "from", "from", "from")]


def test_explanation_shows_each_node_with_the_time_of_its_value(make, read, add_contacts, drain, query, manager):
    (ana,) = add_contacts(1, country="ES")
    inner = make(SPAIN, "Inner")
    nodes = [{"segment": {"segment_id": inner.json["id"]}}, {"not": {"any": [SCANNED, GRANTED]}}]
    made = make({"all": nodes}, "Outer")
    drain()

    member = read(made, f"/members/{ana}/explain").json
    days = [(str(ana), day, n) for day, n in (("2026-03-01", 1), ("2026-03-05", 3), ("2026-03-09", 1))]
    for contact_id, scan_day, n in days:
        query(
            "insert into contact_activity (brand_id, contact_id, event, campaign_id, day, n)"
            " values (%s, %s, 'scan', %s, %s, %s)",
            *(manager.brand_id, contact_id, new_id(), scan_day, n),
        )
    after = read(made, f"/members/{ana}/explain").json

    steps = ["", ".all[0]", ".all[1]", ".all[1].not", ".all[1].not.any[0]", ".all[1].not.any[1]"]
    assert [one["path"] for one in member["nodes"]] == ["definition" + step for step in steps]
    assert [one["kind"] for one in member["nodes"]] == ["all", "segment", "not", "any", "event", "consent"]
    assert [one["holds"] for one in member["nodes"]] == [True, True, True, False, False, False]
    assert member["holds"]
    assert member["nodes"][1]["since"] == read(inner, "/members").json["items"][0]["entered_at"]
    assert member["member_since"] is not None
    assert [one["holds"] for one in after["nodes"]] == [False, True, False, True, True, False]
    assert after["nodes"][4]["since"].startswith("2026-03-0")
    assert not after["holds"]


def test_explanation_names_the_contact_that_took_in_another(client, manager, make, read, add_contacts):
    kept, taken = add_contacts(2, country="ES")
    merged = client.post(f"/api/v1/crm/contacts/{kept}/merges", token=manager.token, json={"contact_id": str(taken)})

    answer = read(make(SPAIN), f"/members/{taken}/explain")

    assert merged.status_code == 201
    assert (answer.status_code, answer.json["code"], answer.json["contact_id"]) == (409, "contact_merged", str(kept))


def test_key_needs_the_scope_of_contacts_for_people(client, manager, member, make, add_contacts):
    made, (contact_id,) = make(SPAIN), add_contacts(1)
    with member("Brand Admin").acting():
        key = api_keys.create("Segments only", ["audiences:read"], timedelta(days=1))[1]

    for path in ("/preview", "/members", "/counts", f"/members/{contact_id}/explain"):
        answer = client.get(f"{made.headers['Location']}{path}", token=key)
        assert (path, answer.status_code) == (path, 403)
    assert client.get(made.headers["Location"], token=key).status_code == 200


def test_schema_of_definitions_is_public_and_cached(client):
    answer = client.get(f"{URL}/schema")

    assert answer.headers["Content-Type"] == "application/schema+json"
    assert answer.json["$defs"]["Condition"]["maxProperties"] == 1
    again = client.get(f"{URL}/schema", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
