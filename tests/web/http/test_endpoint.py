"""Test `@endpoint`: admission, the order of checks, and the transaction around the responder."""

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from models.core.context import current, request_info
from models.core.errors import Conflict
from tests.web.conftest import ALICE, BRAND
from web.http.endpoint import audited, endpoint, etag, require_match


class ThingIn(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class ThingOut(msgspec.Struct):
    name: str
    who: str | None = None


class Things:
    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    @endpoint(permission="authenticated", response=ThingOut)
    def on_get(self, req, resp):
        self.seen = {"identity": current(), "request": request_info(), "thread": threading.current_thread().name}
        resp.media = ThingOut("a", str(req.context.identity.user_id))

    @endpoint(
        permission="campaigns:write",
        body=ThingIn,
        example={"name": "a"},
        response=ThingOut,
        status=201,
        audit="thing.create",
    )
    def on_post(self, req, resp):
        if req.context.body.name == "taken":
            raise Conflict("There is one.")
        if req.context.body.name == "broken":
            resp.media = {"not": object()}
            return
        audited(req, table="things", record_id=BRAND, after={"name": req.context.body.name})
        resp.location = "/things/1"
        resp.media = ThingOut(req.context.body.name)


class Open:
    @endpoint(permission="public", response=ThingOut)
    def on_get(self, req, resp):
        resp.media = ThingOut("open", req.context.identity.role)

    @endpoint(permission="optional", response=ThingOut)
    def on_post(self, req, resp):
        resp.media = ThingOut("optional", req.context.identity.role)

    @endpoint(permission="optional", credentials=True, response=ThingOut)
    def on_put(self, req, resp):
        resp.media = ThingOut(current().login, current().role)

    @endpoint(permission="public", status=204)
    def on_delete(self, req, resp):
        pass


class Versioned:
    @endpoint(permission="public", response=ThingOut)
    def on_get(self, req, resp, thing_id):
        etag(resp, 3)
        resp.media = ThingOut("v3")

    @endpoint(permission="public", response=ThingOut)
    def on_put(self, req, resp, thing_id):
        require_match(req, 3, required=True)
        resp.media = ThingOut("v4")


class Asynchronous:
    @endpoint(
        permission="authenticated", body=ThingIn, example={"name": "a"}, response=ThingOut, status=201, mode="async"
    )
    async def on_post(self, req, resp):
        resp.media = ThingOut(req.context.body.name, threading.current_thread().name)


class Outward:
    @endpoint(permission="campaigns:write", response=ThingOut, outward=True, audit="thing.send")
    def on_post(self, req, resp):
        resp.media = ThingOut("sent", current().role)


class Sensitive:
    @endpoint(permission="campaigns:write", response=ThingOut, recent=True, audit="thing.end")
    def on_post(self, req, resp):
        resp.media = ThingOut("ended")

    @endpoint(permission="campaigns:write", response=ThingOut, recent=True, outward=True)
    def on_put(self, req, resp):
        resp.media = ThingOut("sent")


class Picture:
    @endpoint(permission="public", media="image/svg+xml")
    def on_get(self, req, resp):
        resp.content_type = "image/svg+xml"
        resp.data = b"<svg/>"


class Limited:
    @endpoint(permission="campaigns:write", body=ThingIn, example={"name": "a"}, rate="2/minute")
    def on_post(self, req, resp):
        pass


@pytest.fixture
def things():
    return Things()


@pytest.fixture
def api(serve, things):
    return serve(
        {
            "/things": things,
            "/open": Open(),
            "/versioned/{thing_id:uuid}": Versioned(),
            "/async": Asynchronous(),
            "/outward": Outward(),
            "/limited": Limited(),
            "/picture": Picture(),
            "/grave": Sensitive(),
        }
    )


def test_responder_runs_in_a_thread_within_the_callers_transaction(api, things, notebook):
    answer = api.get("/things", token="alice", headers={"X-Request-Id": "the-request"})

    assert answer.status_code == 200
    assert answer.json == {"name": "a", "who": str(ALICE)}
    assert answer.headers["content-length"] == str(len(answer.content))
    assert things.seen["identity"].user_id == ALICE
    assert things.seen["request"].request_id == "the-request"
    assert things.seen["thread"].startswith("test-")
    assert notebook.events == [("begin", "authenticated"), "commit"]


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Bearer ", "Basic YTpi", "alice"])
def test_missing_or_invalid_token_returns_401(api, notebook, authorization):
    answer = api.get("/things", headers={"Authorization": authorization} if authorization else {})

    assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert notebook.events == ([("refused", "request.refuse", "unauthenticated")] if authorization else [])


def test_authorization_scheme_ignores_case(api):
    assert api.get("/things", headers={"Authorization": "bearer alice"}).status_code == 200


def test_missing_permission_returns_403_and_is_recorded(api, notebook):
    answer = api.post("/things", token="bob", json={"name": "x"})

    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert notebook.events == [("refused", "thing.create", "forbidden")]


def test_permissions_of_all_roles_are_read_once(api, notebook):
    answers = [api.post("/things", token=token, json={"name": "x"}) for token in ("alice", "bob", "alice")]

    assert [answer.status_code for answer in answers] == [201, 403, 201]
    assert notebook.permission_reads == 1


def test_act_and_its_audit_entry_commit_together(api, notebook):
    answer = api.post("/things", token="alice", json={"name": "x"})

    assert answer.status_code == 201
    assert answer.headers["location"] == "/things/1"
    details = {"table": "things", "record_id": BRAND, "after": {"name": "x"}}
    assert notebook.events == [("begin", "authenticated"), ("audit", "thing.create", details), "commit"]


def test_refusal_rolls_back_and_is_recorded_separately(api, notebook):
    answer = api.post("/things", token="alice", json={"name": "taken"})

    assert (answer.status_code, answer.json["detail"]) == (409, "There is one.")
    refused = ("refused", "thing.create", "conflict")
    assert notebook.events == [("begin", "authenticated"), "rollback", refused]


def test_answer_that_cannot_be_encoded_rolls_back(api, notebook):
    answer = api.post("/things", token="alice", json={"name": "broken"})

    assert (answer.status_code, answer.json["code"]) == (500, "internal")
    assert "commit" not in notebook.events
    assert "location" not in answer.headers


def test_invalid_fields_of_query_and_body_are_named_together(api):
    answer = api.post("/things?utm=x", token="alice", json={"name": 1})

    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (422, ["utm", "name"])


def test_invalid_body_opens_no_transaction(api, notebook):
    answer = api.post("/things", token="alice", json={"nome": "x"})

    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (422, ["name", "nome"])
    assert notebook.events == []


def test_public_endpoint_ignores_tokens(api):
    assert api.get("/open", token="nonsense").json["who"] == "app_public"


def test_optional_token_is_used_and_verified(api):
    assert api.post("/open").json["who"] == "app_public"
    assert api.post("/open", token="bob").json["who"] == "app_fan"
    assert api.post("/open", token="nonsense").status_code == 401


@pytest.mark.parametrize("token", [None, "alice", "bob"])
def test_endpoint_of_credentials_uses_the_account_login(api, token):
    assert api.put("/open", token=token).json == {"name": "account", "who": "app_credentials"}


def test_checks_run_in_the_documented_order(api):
    huge = {"name": "x" * 300_000}

    assert api.post("/nowhere", json=huge).status_code == 404
    assert api.delete("/things", json=huge).status_code == 405
    assert api.post("/things", json=huge, headers={"Accept": "text/csv"}).status_code == 406
    assert api.post("/limited", json=huge).status_code == 401
    assert api.post("/limited", token="bob", json=huge).status_code == 403
    assert [api.post("/limited", token="alice", json=huge).status_code for _ in range(3)] == [413, 413, 429]


def test_missing_method_returns_405_with_allowed_methods(api):
    answer = api.delete("/things")

    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}


def test_head_is_answered_like_get_without_body(api):
    answer = api.request("HEAD", "/things", token="alice")

    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) == len(api.get("/things", token="alice").content)


def test_answer_with_status_204_has_no_body(api):
    answer = api.delete("/open")

    assert (answer.status_code, answer.content) == (204, b"")


def test_path_parameter_that_is_no_uuid_returns_404(api):
    for wrong in ("x", "0198a3f0", "%00", "%ff", f"{BRAND}x", "../open"):
        answer = api.get(f"/versioned/{wrong}")
        assert (answer.status_code, answer.json["code"]) == (404, "not_found"), wrong


def test_matching_if_none_match_returns_304(api):
    first = api.get(f"/versioned/{BRAND}")

    again = api.get(f"/versioned/{BRAND}", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["etag"] == '"3"'
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"3"')
    assert api.get(f"/versioned/{BRAND}", headers={"If-None-Match": '"2"'}).status_code == 200
    assert api.get(f"/versioned/{BRAND}", headers={"If-None-Match": '"1", W/"3"'}).status_code == 304
    assert api.get(f"/versioned/{BRAND}", headers={"If-None-Match": "*"}).status_code == 304
    assert api.put(f"/versioned/{BRAND}", headers={"If-None-Match": '"3"', "If-Match": '"3"'}).status_code == 200


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ('"3"', 200),
        ("*", 200),
        ('"2", "3"', 200),
        ('"2"', 412),
        ('W/"3"', 412),
        (None, 428),
        ("", 412),
        (",", 412),
        ('"*"', 412),
    ],
)
def test_if_match_decides_whether_a_version_is_overwritten(api, match, status):
    answer = api.put(f"/versioned/{BRAND}", headers={"If-Match": match} if match is not None else {})

    assert answer.status_code == status


def test_async_responder_runs_in_the_event_loop_without_transaction(api, notebook):
    answer = api.post("/async", token="bob", json={"name": "x"})

    assert (answer.status_code, answer.json["name"]) == (201, "x")
    assert not answer.json["who"].startswith("test-")
    assert notebook.events == []


def test_async_responder_has_the_same_refusals(api):
    assert api.post("/async", json={"name": "x"}).status_code == 401
    assert api.post("/async", token="bob", json={"name": 1}).status_code == 422
    assert api.post("/async", token="bob", body=b"{", headers={"Content-Type": "application/json"}).status_code == 400


def test_outward_responder_gets_no_transaction_and_no_entry(api, notebook):
    answer = api.post("/outward", token="alice")

    assert answer.json["who"] == "authenticated"
    assert notebook.events == []


@pytest.mark.parametrize(
    ("accepted", "status"),
    [
        ("image/svg+xml", 200),
        ("IMAGE/svg+xml", 200),
        ("image/*", 200),
        ("*/*", 200),
        ("application/json", 406),
        ("image/png, text/csv", 406),
    ],
)
def test_answer_that_is_not_json_is_sent_only_if_accepted(api, accepted, status):
    answer = api.get("/picture", headers={"Accept": accepted})

    assert answer.status_code == status
    assert answer.headers["content-type"] == ("image/svg+xml" if status == 200 else "application/problem+json")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_step_up_is_checked_before_the_act(api, notebook, method):
    assert api.request(method, "/grave", token="alice").status_code == 200
    assert notebook.events[:2] == [("begin", "authenticated"), "recent?"]

    notebook.is_recent = False
    refused = api.request(method, "/grave", token="alice")

    assert refused.status_code == 403


def test_endpoint_without_permission_raises():
    with pytest.raises(TypeError):
        endpoint()(lambda self, req, resp: None)
    with pytest.raises(TypeError, match="set the permission"):
        endpoint(permission="")(lambda self, req, resp: None)


@pytest.mark.parametrize(
    "contradiction",
    [
        {"idempotent": True, "outward": True},
        {"idempotent": True, "mode": "async"},
        {"audit": "a.b", "mode": "async"},
        {"recent": True},
    ],
)
def test_contradictory_endpoint_options_raise(contradiction):
    with pytest.raises(TypeError):
        endpoint(permission="public", **contradiction)(lambda self, req, resp: None)


def test_path_ids_are_passed_as_uuids(serve):
    class Echo:
        @endpoint(permission="public")
        def on_get(self, req, resp, thing_id):
            resp.media = {"kind": type(thing_id).__name__, "id": thing_id}

    answer = serve({"/echo/{thing_id:uuid}": Echo()}).get(f"/echo/{BRAND}")

    assert answer.json == {"kind": UUID.__name__, "id": str(BRAND)}


def test_overloaded_pool_returns_503_with_retry_after(serve):
    door = threading.Event()

    class Busy:
        @endpoint(permission="public")
        def on_get(self, req, resp):
            door.wait(60)

        @endpoint(permission="public", mode="async")
        async def on_post(self, req, resp):
            resp.media = {}

    api = serve({"/busy": Busy()}, threads=1, queue=1)
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(api.get, "/busy") for _ in range(3)]
        refused = next(answer.result() for answer in as_completed(asked, timeout=60))
        meanwhile = api.post("/busy")
        door.set()
        answers = sorted(answer.result().status_code for answer in asked)

    assert (refused.status_code, refused.json["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert meanwhile.status_code == 200
    assert answers == [200, 200, 503]


class Followed:
    @endpoint(permission="authenticated", scope="campaigns:read", response=ThingOut)
    def on_get(self, req, resp):
        resp.media = ThingOut("followed", str(req.context.identity.actor_id))


def test_api_key_is_admitted_by_its_scopes_alone(serve, notebook):
    client = serve({"/things": Things(), "/followed": Followed()})

    made = client.post("/things", json={"name": "a"}, token="cpk_campaigns:write")
    narrow = client.post("/things", json={"name": "a"}, token="cpk_campaigns:read")
    followed = [
        client.get("/followed", token=f"cpk_{scope}").status_code for scope in ("campaigns:read", "campaigns:write")
    ]

    assert (made.status_code, narrow.status_code, followed) == (201, 403, [200, 403])
    assert notebook.permission_reads == 0


def test_api_key_is_refused_by_endpoints_without_scope(serve):
    refused = serve({"/things": Things()}).get("/things", token="cpk_campaigns:read,authenticated")

    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")


def test_all_requests_of_an_api_key_count_towards_its_limit(serve):
    client = serve({"/things": Things(), "/followed": Followed()})

    answers = [
        client.get(path, token="cpk_campaigns:read")
        for path in ("/followed", "/followed", "/followed", "/things", "/things", "/followed")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 403, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"apiKey";q=5;w=60'


def test_scope_with_a_permission_raises():
    with pytest.raises(TypeError, match="scope"):
        endpoint(permission="campaigns:read", scope="campaigns:read")


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"body": Named, "example": {"name": ""}}, "`example` does not fit Named: .* `\\$.name`"),
        ({"body": Named, "example": {"name": "a", "size": 1}}, "unknown field `size`"),
        ({"example": {"name": "a"}}, "declares none"),
        ({"body": Named}, "Show a realistic body: `example={…}`"),
        ({"sunset": date(2027, 1, 1)}, "need `deprecated_since`"),
        ({"deprecated_since": date(2027, 1, 2), "sunset": date(2027, 1, 2)}, "must be later"),
    ],
)
def test_contradicting_documentation_options_are_refused(options, sentence):
    with pytest.raises(TypeError, match=sentence):
        endpoint(permission="public", **options)
