"""Test refusals in the audit trail: recorded reasons, the contents of entries, and the bound on their number."""

import asyncio
import threading
from itertools import count
from uuid import UUID

import msgspec
import pytest

from models.audit import refusals
from models.core.database import new_id
from models.core.errors import Conflict, NotFound, PreconditionFailed
from models.identity import access_tokens, sessions
from tests.fixtures.scans import MADRID, NEW_YORK
from tests.support.brokers import until
from tests.web.conftest import ALICE, BRAND
from web.http.auditing import UNNAMED
from web.http.endpoint import audited, endpoint
from web.http.refusals import PER_CALLER, Refusals
from web.http.thread_pool import ThreadPool

LOGS = "/api/v1/audit-logs"
PATIENCE = 30.0

_hosts = count(1)


class ThingIn(msgspec.Struct, forbid_unknown_fields=True):
    then: str


class Things:
    @endpoint(permission="authenticated", body=ThingIn, example={"then": "a"}, audit="thing.change")
    def on_put(self, req, resp, thing_id):
        audited(req, table="stuff", record_id=BRAND)
        raise {"taken": Conflict, "stale": PreconditionFailed}[req.context.body.then]

    @endpoint(permission="campaigns:write")
    def on_get(self, req, resp, thing_id):
        raise NotFound


class Limited:
    @endpoint(permission="public", rate="1/minute", refused_as="thing.try")
    def on_post(self, req, resp):
        pass

    @endpoint(permission="public", rate="1/minute")
    def on_get(self, req, resp):
        pass


ROUTES = {"/things/{thing_id:uuid}": Things(), "/limited": Limited()}
THING = f"/things/{ALICE}"


@pytest.fixture(autouse=True)
def long_wait(monkeypatch):
    """Let answers wait for their entries, even on a busy machine."""
    monkeypatch.setattr("web.http.refusals.WAIT_SECONDS", PATIENCE)


def test_refusal_entry_names_the_record_of_path_or_responder(serve, notebook):
    api = serve(ROUTES)
    api.get(THING, token="bob", headers={"X-Request-Id": "the-request"})
    api.put(THING, token="bob", json={"then": "taken"})

    by_path, by_responder = notebook.refusals
    assert (by_path.action, by_path.reason, by_path.status) == (UNNAMED, "forbidden", 403)
    assert (by_path.operation, by_path.table, by_path.record_id) == ("GET /things/{thing_id:uuid}", "things", ALICE)
    assert (by_path.claims["app_metadata"]["user_role"], by_path.request.request_id) == ("Fan", "the-request")
    assert (by_responder.action, by_responder.table, by_responder.record_id) == ("thing.change", "stuff", BRAND)


def test_invalid_input_and_conflicts_are_not_recorded(serve, notebook):
    api = serve(ROUTES)
    assert api.put(THING, token="alice", json={"then": "stale"}).status_code == 412
    assert api.put(THING, token="alice", json={"than": "stale"}).status_code == 422
    assert api.get(THING).status_code == 401

    assert notebook.refusals == []


def test_exceeded_limit_of_sensitive_endpoint_is_recorded(serve, notebook):
    api = serve(ROUTES)
    for _ in range(2):
        api.get("/limited")
        api.post("/limited")

    assert [(one.action, one.reason) for one in notebook.refusals] == [("thing.try", "rate_limited")]


def test_further_refusals_are_counted_until_the_minute_ends(serve, notebook):
    api = serve(ROUTES, minute=3600.0)
    asked = PER_CALLER + 25
    assert {api.get(THING, token="bob").status_code for _ in range(asked)} == {403}
    api.put(THING, token="alice", json={"then": "taken"})  # refusals of another caller are still recorded

    assert [one.reason for one in notebook.refusals] == ["forbidden"] * PER_CALLER + ["conflict"]


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


def refused(who=None, **changes):
    claims = {"sub": str(who or ALICE)}
    return refusals.Refused(
        **{"action": "a.b", "reason": "forbidden", "status": 403, "operation": "o", "claims": claims, **changes}
    )


@pytest.fixture
def pool():
    pool = ThreadPool("refusals", 1, 100)
    yield pool
    pool.close()


def test_end_of_minute_records_one_entry_with_the_count(loop, pool):
    written, enough = [], threading.Event()

    def write(one):
        written.append(one)
        if sum(one.count for one in written) >= PER_CALLER + 7:
            enough.set()

    gate = Refusals(pool, write, minute=0.05)

    async def flood():
        for number in range(PER_CALLER + 7):
            await gate.record(refused(record_key=str(number)))

    # A minute that ends in the middle of the flood would begin another: only the sum is certain.
    loop.run(asyncio.wait_for(flood(), PATIENCE))
    assert loop.run(asyncio.to_thread(enough.wait, PATIENCE))

    assert sum(one.count for one in written) == PER_CALLER + 7
    assert written[-1].record_key == str(PER_CALLER + 6)


def test_counted_refusals_are_recorded_one_by_one(loop, monkeypatch):
    monkeypatch.setattr("web.http.refusals.IN_TOTAL", 0)
    written, all_are_written = [], threading.Event()
    small = ThreadPool("refusals", 1, 2)

    def write(one):
        written.append(one)
        if len(written) == 20:
            all_are_written.set()

    gate = Refusals(small, write, minute=3600.0)

    async def flood():
        for _ in range(20):
            await gate.record(refused(who=new_id()))
        gate._end_minute()

    loop.run(flood())
    assert loop.run(asyncio.to_thread(all_are_written.wait, PATIENCE))
    small.close()


def test_entries_of_all_callers_are_bounded(loop, pool, monkeypatch):
    monkeypatch.setattr("web.http.refusals.IN_TOTAL", 5)
    monkeypatch.setattr("web.http.refusals.MAX_COUNTERS", 4)
    written = []
    gate = Refusals(pool, written.append, minute=3600.0)

    async def flood():
        for _ in range(100):
            await gate.record(refused(new_id()))

    loop.run(asyncio.wait_for(flood(), PATIENCE))
    assert len(written) == 5
    gate.close(1)

    assert len(written) == 5 + 4 + 1
    assert sum(one.count for one in written) == 100
    assert (written[-1].action, written[-1].count) == (UNNAMED, 91)


def test_failed_entry_is_recorded_later_and_answer_is_unchanged(serve, notebook, caplog):
    failing = [True]
    write = notebook.refuse

    def refuse(one):
        if failing[0]:
            raise RuntimeError("no database")
        write(one)

    notebook.refuse = refuse
    api = serve(ROUTES, minute=0.05)
    answer = api.get(THING, token="bob")
    failing[0] = False

    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    until(lambda: notebook.refusals)
    assert "is recorded later: no database" in caplog.text


def test_slow_entry_delays_an_answer_by_its_wait_only(loop, pool, monkeypatch):
    monkeypatch.setattr("web.http.refusals.WAIT_SECONDS", 0.01)
    released, written = threading.Event(), []

    def write(one):
        assert released.wait(PATIENCE)
        written.append(one)

    gate = Refusals(pool, write, minute=3600.0)

    async def note():
        await gate.record(refused())
        assert written == []  # the answer has not waited for the entry
        released.set()

    loop.run(asyncio.wait_for(note(), PATIENCE))
    until(lambda: written)


@pytest.fixture
def anna(member):
    """Return a Brand Admin."""
    return member("Brand Admin")


@pytest.fixture
def entries(superuser):
    """Return `entries(reason, …)`: wait for `at_least` refusals of a reason and return each as a dict."""

    def read(reason, at_least=1):
        def found():
            with superuser.cursor() as cursor:
                cursor.execute(
                    "select to_jsonb(l) || jsonb_build_object('address', contents #>> '{address,value}')"
                    " from public.audit_logs l left join app.audit_personal_values using (id)"
                    " where outcome = 'refused' and reason = %s order by timestamp, l.id",
                    (reason,),
                )
                return [entry for (entry,) in cursor.fetchall()]

        until(lambda: len(found()) >= at_least)
        return found()

    return read


def test_access_to_another_brand_is_in_the_platform_trail(client, anna, member, make_brand, campaign, entries, admin):
    theirs = member("Brand Admin", make_brand("Other"))
    mine = campaign()

    for path in (f"/campaigns/{mine.id}", f"/brands/{anna.brand_id}", f"/campaigns/{new_id()}"):
        assert client.get(f"/api/v1{path}", token=theirs.token).status_code == 404

    found = entries("out_of_reach", 2)
    assert {(one["table_name"], one["record_id"]) for one in found} == {
        ("campaigns", str(mine.id)),
        ("brands", str(anna.brand_id)),
    }
    for one in found:
        assert (one["user_id"], one["brand_id"]) == (str(theirs.user_id), None)
        assert (one["details"]["owner"], one["details"]["status"]) == (str(anna.brand_id), 404)
    for reader in (theirs, anna):  # another answer would reveal records of other brands
        params = {"reason": "out_of_reach"}
        assert client.get(LOGS, token=reader.token, params=params).json["items"] == []
    assert len(client.get(LOGS, token=admin.token, params={"reason": "out_of_reach"}).json["items"]) == 2


def test_access_to_unassigned_record_is_in_the_brands_trail(client, member, campaign, entries):
    creator, made = member("Creator"), campaign()

    assert client.get(f"/api/v1/campaigns/{made.id}", token=creator.token).status_code == 404

    (one,) = entries("out_of_reach")
    assert (one["brand_id"], one["user_id"]) == (str(creator.brand_id), str(creator.user_id))
    assert "owner" not in one["details"]


def test_404_for_own_or_unknown_record_is_not_recorded(client, fan, entries):
    person, other = fan(), fan()
    gone = person.identity.session_id
    assert client.delete(f"/api/v1/users/me/sessions/{gone}", token=person.token).status_code == 204
    path = f"/api/v1/users/me/sessions/{gone}"

    assert client.delete(path, token=other.token).status_code == 404
    assert client.delete(f"/api/v1/users/me/sessions/{new_id()}", token=other.token).status_code == 404
    again = client.delete(path, token=person.token)

    assert again.status_code == 401
    (one,) = entries("out_of_reach")
    assert (one["user_id"], one["record_id"], one["table_name"]) == (str(other.user_id), str(gone), "sessions")


def test_use_of_ended_session_is_recorded_with_its_person(client, anna, entries):
    client.post("/api/v1/auth/logout", token=anna.token)

    assert client.get("/api/v1/campaigns", token=anna.token).json["code"] == "session_ended"

    (one,) = entries("session_ended")
    assert (one["user_id"], one["session_id"]) == (str(anna.user_id), str(anna.identity.session_id))
    assert (one["brand_id"], one["actor_role"]) == (str(anna.brand_id), "Brand Admin")
    assert one["details"] == {"operation": "GET /api/v1/campaigns", "status": 401}


def test_scans_of_ended_session_are_recorded_within_bounds(client, phone, campaign, code_of, entries, stored):
    device, made = phone(), campaign()
    asked = device.body(code_of(made))
    client.post("/api/v1/auth/logout", token=device.account.token)

    answers = [device.send(asked) for _ in range(PER_CALLER + 3)]

    assert {(answer.status_code, answer.json["code"]) for answer in answers} == {(401, "session_ended")}
    found = entries("session_ended", PER_CALLER)
    assert len(found) == PER_CALLER
    assert (found[0]["user_id"], found[0]["action"]) == (str(device.account.user_id), "scan.record")
    assert found[0]["session_id"] == str(device.account.identity.session_id)
    assert found[0]["request_id"] == answers[0].headers["x-request-id"]
    assert found[0]["details"] == {"operation": "POST /api/v1/qr/scan", "status": 401}
    assert stored() == []


def test_scan_with_token_of_former_role_is_recorded(phone, campaign, code_of, superuser, entries):
    device = phone()
    with superuser.cursor() as cursor:
        cursor.execute("update public.users set role_id = 5 where id = %s", (device.account.user_id,))

    assert device.scan(code_of(campaign())).status_code == 401

    (one,) = entries("session_ended")
    assert (one["user_id"], one["actor_role"], one["brand_id"]) == (str(device.account.user_id), "Fan", None)


def test_decided_scan_is_not_recorded_as_refusal(phone, campaign, code_of, stored, superuser):
    made = campaign(geofence={"lat": MADRID[0], "lon": MADRID[1], "radius_m": 500})
    code = code_of(made)

    answers = [phone().scan(code), phone(place=NEW_YORK).scan(code), phone().scan("nonsense")]

    assert [answer.status_code for answer in answers] == [201, 403, 422]
    assert [scan["reason"] for scan in stored()] == [None, "geofence_outside"]
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from public.audit_logs where outcome = 'refused'")
        assert cursor.fetchone() == (0,)


def test_use_of_revoked_api_key_is_recorded(client, anna, entries):
    made = client.post("/api/v1/api-keys", json={"name": "till", "scopes": ["campaigns:read"]}, token=anna.token).json
    client.delete(f"/api/v1/api-keys/{made['id']}", token=anna.token)

    assert client.get("/api/v1/campaigns", token=made["key"]).status_code == 401

    (one,) = entries("api_key_invalid")
    assert (one["user_id"], one["brand_id"], one["actor_role"]) == (made["id"], str(anna.brand_id), "API Key")


def test_refresh_token_of_ended_session_is_recorded(client, fan, entries):
    first = client.post("/api/v1/auth/anonymous", json={}).json
    client.post("/api/v1/auth/logout", token=first["access_token"])

    refused = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})

    assert refused.status_code == 401
    (one,) = entries("refresh_token_invalid")
    assert (one["action"], one["actor_role"]) == ("session.refresh", "Fan")
    assert UUID(one["session_id"])
    assert UUID(one["user_id"])


@pytest.mark.parametrize("token", ["nonsense", "cpk_nonsense", "a.b.c"])
def test_bad_credentials_are_recorded_with_address(client, entries, token):
    address = f"2001:db8:0:{next(_hosts):x}::1"

    assert client.get("/api/v1/campaigns", token=token, remote_addr=address).status_code == 401

    (one,) = [*entries("api_key_invalid" if token.startswith("cpk_") else "unauthenticated")]
    assert (one["address"], one["user_id"], one["brand_id"]) == (address, None, None)


def test_expired_token_is_not_recorded(client, anna, superuser, monkeypatch):
    monkeypatch.setattr(access_tokens, "LIFETIME", -60)
    person = sessions.Person(anna.user_id, anna.email, None, "en", "Brand Admin", anna.brand_id, is_anonymous=False)
    over = sessions.access_token(anna.identity.session_id, person)

    assert client.get("/api/v1/campaigns", token=over).json["detail"] == "The access token has expired."

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from public.audit_logs where outcome = 'refused'")
        assert cursor.fetchone() == (0,)


def test_guessed_links_and_their_limit_are_recorded(client, entries, fresh_limits):
    address = f"2001:db8:0:{next(_hosts):x}::1"
    body = {"token": "x" * 40, "password": "una clave muy larga"}
    asked = [client.post("/api/v1/auth/verify", json=body, remote_addr=address).status_code for _ in range(31)]

    assert (asked[0], asked[-1]) == (404, 429)
    assert {(one["action"], one["address"]) for one in entries("link_invalid")} == {("account.verify", address)}


def test_path_parameters_map_to_existing_tables(superuser):
    from web.http.auditing import _target
    from web.v1 import ROUTES as ALL

    names = {part.split("{")[1].split(":")[0] for path, _ in ALL for part in path.split("/") if ":uuid}" in part}
    assert "campaign_id" in names
    with superuser.cursor() as cursor:
        for name in names:
            table, _, _ = _target({name: ALICE})
            cursor.execute("select coalesce(to_regclass('public.' || %s), to_regclass('app.' || %s))", (table, table))
            assert cursor.fetchone() != (None,), name
            cursor.execute("select is_found from app.find_record_owner(%s, %s)", (table, ALICE))
            assert cursor.fetchone() == (False,)
