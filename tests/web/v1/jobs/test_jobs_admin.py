"""Control of jobs by system admins over HTTP: dead letters, replay, cancel, pause and trail."""

from uuid import uuid4

import pytest

from jobs.engine.ledger import Ledger
from models.core import context
from models.core.context import RequestInfo, request_info, set_request_info
from models.core.database import transaction
from models.jobs import dead_letters
from models.jobs.ledger import enqueue
from tests.fixtures.jobs import take
from web.http.trace import continue_trace

GROUPS, LETTERS, REPLAY = "/api/v1/dead-jobs/groups", "/api/v1/dead-jobs", "/api/v1/dead-jobs/replay"


@pytest.fixture
def audited(superuser):
    """Return a function for the audit entries of an action: (user, record, outcome, reason)."""

    def look(action):
        with superuser.cursor() as cursor:
            cursor.execute(
                "select user_id, coalesce(record_id::text, record_key), outcome,"
                " coalesce(reason, contents #>> '{reason,value}'), details"
                " from public.audit_logs left join app.audit_personal_values using (id)"
                " where action = %s order by timestamp",
                (action,),
            )
            return cursor.fetchall()

    return look


@pytest.fixture
def waiting():
    """Return a function that enqueues a waiting job."""

    def make(name="test.one", **options):
        with transaction(context.for_system_job()):
            return enqueue(name, **options).id

    return make


@pytest.fixture
def announced(ledger: Ledger):
    """Register actors as a release does."""
    ledger.register_actors({"mail": ["test.letter", "test.card"], "default": ["test.one"]})


def test_dead_letters_are_grouped_by_cause(client, admin, make_dead_letter, brand):
    make_dead_letter("test.one", brand_id=brand["id"])
    make_dead_letter("test.one")
    make_dead_letter("test.two", message="no more paper")

    groups = client.get(GROUPS, token=admin.token, params={"limit": 1}).json
    rest = client.get(GROUPS, token=admin.token, params={"limit": 1, "cursor": groups["next_cursor"]}).json

    (group,) = groups["items"]
    assert (group["actor"], group["count"], group["brands"]) == ("test.one", 2, 1)
    assert group["error"] == {"kind": "VendorError", "message": "it broke", "where": ["vendors.py:12 call"]}
    assert [group["actor"] for group in rest["items"]] == ["test.two"]
    assert rest["next_cursor"] is None


def test_dead_letters_are_filtered_by_each_condition(client, admin, make_dead_letter, brand):
    mine, other = make_dead_letter("test.one", brand_id=brand["id"]), make_dead_letter("test.two")

    def ids(**params):
        answer = client.get(LETTERS, token=admin.token, params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json["items"]]

    first = client.get(LETTERS, token=admin.token, params={"limit": 1}).json
    assert [first["items"][0]["id"], *ids(limit=1, cursor=first["next_cursor"])] == [str(other), str(mine)]
    assert ids(brand_id=str(brand["id"])) == ids(actor="test.one") == [str(mine)]
    assert ids(fingerprint=first["items"][0]["fingerprint"]) == [str(other)]
    assert ids(**{"from": "2999-01-01T00:00:00Z"}) == ids(to="2000-01-01T00:00:00Z") == []


def test_dead_letter_is_shown_with_its_arguments(client, admin, make_dead_letter):
    id = make_dead_letter("test.one", "an-argument", 7, unique="until_done")

    letter = client.get(f"{LETTERS}/{id}", token=admin.token).json

    assert (letter["id"], letter["args"], letter["attempts"]) == (str(id), ["an-argument", 7], 1)
    assert letter["unique_key"] == ':test.one:["an-argument",7]'
    assert client.get(f"{LETTERS}/{uuid4()}", token=admin.token).status_code == 404


def test_dry_run_returns_the_expected_result(client, admin, make_dead_letter):
    id = make_dead_letter("test.one", unique="until_done")
    with transaction(context.for_system_job()):
        enqueue("test.one", unique="until_done")

    answer = client.post(REPLAY, token=admin.token, json={"actor": "test.one", "dry_run": True})

    assert answer.status_code == 200, answer.text
    assert (answer.json["matching"], answer.json["replayed"], answer.json["blocked"]) == (1, 0, 1)
    assert [letter["id"] for letter in answer.json["sample"]] == [str(id)]
    assert client.get(f"{LETTERS}/{id}", token=admin.token).status_code == 200


def test_replay_makes_jobs_and_is_audited(client, admin, make_dead_letter, audited):
    ids = {str(make_dead_letter("test.one")) for _ in range(3)}
    left = make_dead_letter("test.two")

    answer = client.post(REPLAY, token=admin.token, json={"actor": "test.one", "rate": 0.5})

    assert (answer.json["replayed"], answer.json["blocked"], answer.json["next_cursor"]) == (3, 0, None)
    assert {client.get(f"/api/v1/jobs/{id}", token=admin.token).json["state"] for id in ids} == {"waiting"}
    assert client.get(f"/api/v1/jobs/{left}", token=admin.token).json["state"] == "dead"
    assert {(who, record) for who, record, *_ in audited("job.replay")} == {(admin.user_id, id) for id in ids}
    ((_, _, _, _, details),) = audited("dead_jobs.replay")
    assert details["after"] == {"actor": "test.one", "rate": 0.5, "dry_run": False, "matching": 3, "replayed": 3}


def test_repeated_replay_with_one_key_takes_effect_once(client, admin, make_dead_letter):
    id = make_dead_letter("test.one")

    first, second = (
        client.post(REPLAY, token=admin.token, json={"ids": [str(id)]}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    )

    assert first.status_code == second.status_code == 200
    assert first.json == second.json


def test_single_dead_letter_is_replayed_with_new_arguments(client, admin, make_dead_letter, superuser):
    id = make_dead_letter("test.one", "wrong")

    client.post(REPLAY, token=admin.token, json={"ids": [str(id)], "args": ["right"]})

    with superuser.cursor() as cursor:
        cursor.execute("select args from app.jobs where id = %s", (id,))
        assert cursor.fetchone() == (["right"],)


def test_replay_continues_at_its_own_cursor_only(client, admin, make_dead_letter, monkeypatch):
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    for _ in range(3):
        make_dead_letter("test.one")

    first = client.post(REPLAY, token=admin.token, json={"actor": "test.one"}).json
    make_dead_letter("test.two")
    listed = client.get(LETTERS, token=admin.token, params={"limit": 1}).json
    other = client.post(REPLAY, token=admin.token, json={"actor": "test.one", "cursor": listed["next_cursor"]})
    second = client.post(REPLAY, token=admin.token, json={"actor": "test.one", "cursor": first["next_cursor"]}).json

    assert (first["replayed"], second["replayed"], second["next_cursor"]) == (2, 1, None)
    assert (other.status_code, other.json["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"actor": "test.one", "args": []}, "args"),
        ({"ids": [str(uuid4()), str(uuid4())], "args": []}, "args"),
        ({"actor": "test.one", "rate": 0}, "rate"),
        ({"fingerprint": "no"}, "fingerprint"),
    ],
)
def test_replay_without_conditions_is_refused(client, admin, body, field):
    answer = client.post(REPLAY, token=admin.token, json=body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == field


def test_replay_of_unknown_id_returns_404(client, admin):
    assert client.post(REPLAY, token=admin.token, json={"ids": [str(uuid4())]}).status_code == 404


def test_cancel_of_waiting_job_returns_200(client, admin, waiting, audited):
    id = waiting()

    answer = client.post(f"/api/v1/jobs/{id}/cancel", token=admin.token)
    again = client.post(f"/api/v1/jobs/{id}/cancel", token=admin.token)

    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert (again.status_code, again.json["code"]) == (409, "job_is_over")
    assert [entry[:4] for entry in audited("job.cancel")] == [
        (admin.user_id, str(id), "ok", None),
        (admin.user_id, str(id), "refused", "job_is_over"),
    ]


def test_cancel_of_running_job_returns_202(client, admin, waiting, ledger):
    id = waiting()
    ledger.claim(take(ledger, "test.one"), 1)

    answer = client.post(f"/api/v1/jobs/{id}/cancel", token=admin.token)

    assert (answer.status_code, answer.json["state"]) == (202, "running")
    assert answer.headers["location"] == f"/api/v1/jobs/{id}"


def test_dead_letter_without_request_has_null_ids(client, admin, make_dead_letter):
    answer = client.get(f"{LETTERS}/{make_dead_letter('test.one')}", token=admin.token).json

    assert [answer[name] for name in ("request_id", "correlation_id", "traceparent")] == [None] * 3


def test_actor_is_paused_and_resumed(client, admin, waiting, ledger, announced, audited):
    waiting()

    paused = client.put("/api/v1/actors/test.one/pause", token=admin.token, json={"reason": "the vendor is down"})
    while_paused = take(ledger, "test.one")
    resumed = client.delete("/api/v1/actors/test.one/pause", token=admin.token)

    (actor,) = paused.json["items"]
    assert (actor["name"], actor["queue"], actor["waiting"]) == ("test.one", "default", 1)
    assert (actor["paused"]["reason"], actor["paused"]["by"]) == ("the vendor is down", str(admin.user_id))
    assert actor["paused"]["by_email"] == admin.email
    assert while_paused == []
    assert resumed.json["items"][0]["paused"] is None
    assert len(take(ledger, "test.one")) == 1
    assert [entry[:4] for entry in audited("actor.pause")] == [(admin.user_id, "test.one", "ok", "the vendor is down")]
    assert len(audited("actor.resume")) == 1


def test_queue_pause_applies_to_its_actors(client, admin, announced):
    paused = client.put("/api/v1/queues/mail/pause", token=admin.token, json={"reason": "moving house"})
    everything = client.get("/api/v1/actors", token=admin.token).json["items"]
    client.delete("/api/v1/queues/mail/pause", token=admin.token)
    afterwards = client.get("/api/v1/actors", token=admin.token).json["items"]

    assert [actor["name"] for actor in paused.json["items"]] == ["test.card", "test.letter"]
    assert [actor["name"] for actor in everything if actor["paused"]] == ["test.card", "test.letter"]
    assert [actor["name"] for actor in afterwards if actor["paused"]] == []


def test_pause_with_outdated_etag_returns_412(client, admin, announced):
    path, reason = "/api/v1/actors/test.one/pause", {"reason": "because"}
    seen = client.put(path, token=admin.token, json=reason)
    client.delete(path, token=admin.token)

    late = client.put(path, token=admin.token, json=reason, headers={"If-Match": seen.headers["etag"]})

    assert (late.status_code, late.json["code"]) == (412, "precondition_failed")


@pytest.mark.parametrize("path", ["/api/v1/actors/test.nothing/pause", "/api/v1/queues/nothing/pause"])
def test_pause_of_unknown_actor_returns_404(client, admin, path):
    assert client.put(path, token=admin.token, json={"reason": "because"}).status_code == 404
    assert client.delete(path, token=admin.token).status_code == 404


@pytest.fixture
def request_of_the_trail():
    """Return a request that enqueues jobs."""
    before = request_info()
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    set_request_info(RequestInfo(request_id="request-1234", correlation_id="correlation-1", traceparent=trace))
    yield "request-1234"
    set_request_info(before)


def test_trail_lists_live_and_ended_jobs_of_a_request(client, admin, waiting, make_dead_letter, request_of_the_trail):
    dead, waits, cancelled = make_dead_letter("test.two"), waiting(), waiting()
    with transaction(context.for_system_job(waits)):
        child = enqueue("test.child").id
    client.post(f"/api/v1/jobs/{cancelled}/cancel", token=admin.token)

    def look(id):
        items = client.get("/api/v1/jobs/trail", token=admin.token, params={"request_id": id}).json["items"]
        return [item for item in items if item["actor"].startswith("test.")]

    trail = look(request_of_the_trail)
    assert [(item["id"], item["state"]) for item in trail] == [
        (str(dead), "dead"),
        (str(waits), "waiting"),
        (str(cancelled), "cancelled"),
        (str(child), "waiting"),
    ]
    assert trail[0]["error"] == "VendorError: it broke"
    assert [item["parent_id"] for item in trail] == [None, None, None, str(waits)]
    assert look("correlation-1") == look("ab" * 16) == trail
    assert look("some-other-request") == []


def test_trail_by_trace_id_finds_all_its_requests(client, admin):
    before, request = request_info(), "0197a000-0000-7000-8000-00000000000a"
    for id in (request, "request-that-continues"):
        set_request_info(RequestInfo(request_id=id, traceparent=continue_trace(continue_trace(None, request), id)))
        with transaction(context.for_system_job()):
            enqueue("test.traced")
    set_request_info(before)

    found = client.get("/api/v1/jobs/trail", token=admin.token, params={"request_id": request.replace("-", "")})

    assert [item["request_id"] for item in found.json["items"]] == [request, "request-that-continues"]


def test_job_control_requires_jobs_write(client, member, fan, make_dead_letter, waiting, announced, audited):
    letter, job = make_dead_letter("test.one"), waiting("test.two")
    calls = [
        ("GET", GROUPS, None),
        ("GET", LETTERS, None),
        ("GET", f"{LETTERS}/{letter}", None),
        ("POST", REPLAY, {"ids": [str(letter)]}),
        ("POST", f"/api/v1/jobs/{job}/cancel", None),
        ("GET", "/api/v1/jobs/trail?request_id=whatever", None),
        ("GET", "/api/v1/actors", None),
        ("PUT", "/api/v1/actors/test.one/pause", {"reason": "mischief"}),
        ("DELETE", "/api/v1/queues/mail/pause", None),
    ]

    for stranger in (member("Brand Admin"), fan()):
        assert {client.request(*call[:2], json=call[2], token=stranger.token).status_code for call in calls} == {403}

    assert client.get(GROUPS).status_code == 401
    assert {entry[2:4] for entry in audited("dead_jobs.replay")} == {("refused", "forbidden")}
