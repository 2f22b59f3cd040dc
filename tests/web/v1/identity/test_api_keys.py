"""Test API keys over HTTP: creation after recent authentication, use within their scopes, and revocation."""

import pytest

from models.identity import api_keys

URL = "/api/v1/api-keys"

pytestmark = pytest.mark.usefixtures("fresh_limits")


@pytest.fixture
def boss(member):
    return member("Brand Admin")


@pytest.fixture
def make(client, boss):
    def made(*scopes, **fields):
        answer = client.post(URL, json={"name": "till", "scopes": list(scopes), **fields}, token=boss.token)
        assert answer.status_code == 201, answer.json
        return answer.json

    return made


def test_api_key_is_shown_once_and_acts_for_its_brand(client, boss, make, campaign):
    summer = campaign()
    made = make("campaigns:read")

    found = client.get("/api/v1/campaigns", token=made["key"])

    assert [one["id"] for one in found.json["items"]] == [str(summer.id)]
    assert found.headers["RateLimit-Policy"] == '"apiKey";q=600;w=60'
    kept = client.get(f"{URL}/{made['id']}", token=boss.token).json
    assert kept == {name: part for name, part in made.items() if name != "key"} | {"last_used_at": kept["last_used_at"]}
    assert kept["last_used_at"] is not None
    assert made["key"] not in client.get(URL, token=boss.token).text


def test_repeated_request_for_an_api_key_returns_the_same_key(client, boss, superuser):
    body = {"name": "till", "scopes": ["campaigns:read"]}

    answers = [client.post(URL, json=body, token=boss.token, headers={"Idempotency-Key": "one"}) for _ in range(2)]

    assert answers[0].json == answers[1].json
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert client.get("/api/v1/campaigns", token=answers[1].json["key"]).status_code == 200
    assert len(client.get(URL, token=boss.token).json["items"]) == 1
    with superuser.cursor() as cursor:
        cursor.execute("select string_agg(k::text, ' ') from app.idempotency_keys k")
        ((stored,),) = cursor.fetchall()
    assert answers[0].json["key"][4:] not in stored


def test_api_key_outside_of_its_scopes_returns_403(client, make, campaign):
    key = make("campaigns:read")["key"]
    draft = campaign(launched=False)

    launch = client.post(f"/api/v1/campaigns/{draft.id}/launch", token=key)
    overview = client.get("/api/v1/analytics/overview", token=key)
    own = client.get("/api/v1/users/me", token=key)

    assert (launch.status_code, launch.json["code"], launch.json["scope"]) == (403, "forbidden", "campaigns:launch")
    assert launch.json["detail"] == "The API key needs the scope `campaigns:launch`."
    assert (overview.status_code, overview.json["scope"]) == (403, "analytics:read")
    assert (own.status_code, own.json["detail"]) == (403, "API keys can't send this request: sign in as a person.")
    assert "scope" not in own.json


@pytest.mark.parametrize("path", ["/api-keys", "/brands", "/users", "/audit-logs", "/dead-jobs"])
def test_api_key_is_not_told_a_scope_that_no_key_can_have(client, make, path):
    refused = client.get(f"/api/v1{path}", token=make("campaigns:read")["key"])

    assert (refused.status_code, refused.json["detail"]) == (
        403,
        "API keys can't send this request: sign in as a person.",
    )
    assert "scope" not in refused.json


def test_listed_grantable_scopes_are_accepted_for_a_new_key(client, boss, make):
    listed = client.get(f"{URL}/scopes", token=boss.token).json["items"]
    grantable = [item["scope"] for item in listed if item["grantable"]]

    assert len(grantable) > 10
    assert make(*grantable)["scopes"] == grantable


def test_refusal_of_a_person_names_the_missing_permission(client, admin, member):
    by_admin = client.get("/api/v1/campaigns", token=admin.token)
    by_creator = client.get(f"{URL}/scopes", token=member("Creator").token)

    assert (by_admin.status_code, by_admin.json["permission"]) == (403, "campaigns:read")
    assert (by_creator.status_code, by_creator.json["permission"]) == (403, "api_keys:read")
    assert by_creator.json["detail"] == "Needs the permission `api_keys:read`."


def test_api_key_creates_and_launches_a_campaign(client, make, superuser):
    made = make("campaigns:read", "campaigns:write", "campaigns:launch", "jobs:read")
    body = {"name": "Summer", "type": "QR"}
    headers = {"Idempotency-Key": "one"}

    created = [client.post("/api/v1/campaigns", json=body, token=made["key"], headers=headers) for _ in range(2)]
    launched = client.post(f"{created[0].headers['Location']}/launch", token=made["key"])

    assert created[0].json == created[1].json
    assert launched.status_code == 202
    assert client.get(launched.headers["Location"], token=made["key"]).status_code == 200
    with superuser.cursor() as cursor:
        cursor.execute("select user_id::text, actor_role from audit_logs where action = 'campaign.launch'")
        assert cursor.fetchall() == [(made["id"], "API Key")]


def test_api_key_is_refused_on_endpoints_of_persons(client, make):
    key = make("campaigns:read", "jobs:read")["key"]

    for method, path in (("GET", "/api/v1/users/me"), ("GET", "/api/v1/consents"), ("POST", "/api/v1/auth/logout")):
        assert client.request(method, path, token=key).status_code == 403
    assert client.post(URL, json={"name": "x", "scopes": ["campaigns:read"]}, token=key).status_code == 403


def test_revoked_api_key_is_refused_by_the_next_request(client, boss, make):
    made = make("campaigns:read")
    before = client.get("/api/v1/campaigns", token=made["key"]).status_code

    revoked = client.delete(f"{URL}/{made['id']}", token=boss.token).status_code
    after = client.get("/api/v1/campaigns", token=made["key"])

    assert (before, revoked, after.status_code, after.json["code"]) == (200, 204, 401, "api_key_invalid")
    assert client.get(f"{URL}/{made['id']}", token=boss.token).json["revoked_at"] is not None


def test_expired_api_key_returns_401(client, make, superuser):
    made = make("campaigns:read", expires_in_days=1)
    client.get("/api/v1/campaigns", token=made["key"])
    superuser.cursor().execute("update app.api_keys set expires_at = now()")

    assert client.get("/api/v1/campaigns", token=made["key"]).status_code == 401


def test_expired_key_leaves_room_for_another(client, boss, make, superuser, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_KEYS", 1)
    made = make("campaigns:read")
    body = {"name": "till", "scopes": ["campaigns:read"]}
    refused = client.post(URL, json=body, token=boss.token)
    with superuser.cursor() as cursor:
        cursor.execute("update app.api_keys set expires_at = now() where id = %s", (made["id"],))

    again = client.post(URL, json=body, token=boss.token)

    assert (refused.json["code"], again.status_code) == ("too_many_api_keys", 201)


@pytest.mark.parametrize(("revokes", "status"), [(True, 401), (False, 200)])
def test_suspension_revokes_api_keys_on_request(client, boss, make, admin, superuser, revokes, status):
    made = make("campaigns:read")
    body = {"reason": "stolen", "revoke_api_keys": revokes}

    client.put(f"/api/v1/users/{boss.user_id}/suspension", json=body, token=admin.token)

    assert client.get("/api/v1/campaigns", token=made["key"]).status_code == status
    with superuser.cursor() as cursor:
        cursor.execute("select details -> 'after' -> 'revoked_api_keys' from audit_logs where action = 'user.suspend'")
        assert cursor.fetchall() == [([made["id"]] if revokes else None,)]


def test_api_key_of_an_archived_brand_returns_401(client, make, admin, brand):
    made = make("campaigns:read")
    client.put(f"/api/v1/brands/{brand['id']}/archive", token=admin.token)

    assert client.get("/api/v1/campaigns", token=made["key"]).status_code == 401


def test_api_key_creation_requires_recent_authentication(client, boss, superuser):
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '1 hour'")

    refused = client.post(URL, json={"name": "till", "scopes": ["campaigns:read"]}, token=boss.token)

    assert (refused.status_code, refused.json["code"]) == (403, "recent_authentication_required")


def test_api_key_of_another_brand_returns_404(client, make, member, make_brand):
    made = make("campaigns:read")
    stranger = member("Brand Admin", make_brand("Other"))

    assert client.get(f"{URL}/{made['id']}", token=stranger.token).status_code == 404
    assert client.delete(f"{URL}/{made['id']}", token=stranger.token).status_code == 404
    assert client.get(URL, token=stranger.token).json["items"] == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scopes", {"scopes": []}),
        ("scopes[0]", {"scopes": ["members:write"]}),
        ("scopes[0]", {"scopes": ["everything"]}),
        ("expires_in_days", {"expires_in_days": 366}),
        ("name", {"name": ""}),
    ],
)
def test_invalid_api_key_request_returns_422_with_its_field(client, boss, field, change):
    refused = client.post(URL, json={"name": "till", "scopes": ["campaigns:read"], **change}, token=boss.token)

    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field)


def test_malformed_api_key_returns_401(client, db_clean):
    for text in ("cpk_", "cpk_x", "cpk_" + "A" * 48):
        refused = client.get("/api/v1/campaigns", token=text)
        assert (refused.status_code, refused.json["code"]) == (401, "api_key_invalid")
        assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_creation_of_api_key_is_audited_without_the_key(make, superuser):
    made = make("campaigns:read")

    with superuser.cursor() as cursor:
        cursor.execute("select details, a::text from audit_logs a where action = 'api_key.create'")
        ((details, entry),) = cursor.fetchall()
    assert details["after"]["scopes"] == ["campaigns:read"]
    assert made["key"][len(api_keys.PREFIX) + 8 :] not in entry
