"""Test the gateway: outcomes of a call over both implementations, its record, and faults of the server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection

from jobs.engine import actor, current_job
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from jobs.passport import gateway, http_transport, openapi, policy
from jobs.passport.contract import CallDenied, NotSent, ServiceKeyReused, ServiceRefused, ServiceUnavailable
from models.core import context
from models.core.database import close_thread_connections, transaction
from models.jobs.ledger import enqueue
from models.passport import services
from models.passport.health import HealthStore
from scripts.devstack import sockets
from scripts.devstack.environment import ROOT
from tests.fixtures.accounts import Account
from tests.fixtures.jobs import Drain, take
from tests.fixtures.queries import Query
from tests.fixtures.web import Client
from tests.jobs.passport.conftest import AsJob, Clock
from tests.support.counterparts import OLD_KEY, Counterpart
from tests.support.echo import SERVICE, Note, Noted, echo

COUNTERPART = "echo"
DOCUMENT = ROOT / "var" / "echo.openapi.json"
DOCUMENT.parent.mkdir(exist_ok=True)
DOCUMENT.write_text(json.dumps(openapi.document(SERVICE, "Test service.")))


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch, superuser: connection, db_clean: str) -> Iterator[None]:
    """Create the table of the local implementation, and let jobs of brands call the service."""
    monkeypatch.setitem(policy.POLICY, ("echo", "note"), frozenset({"brand"}))
    with superuser.cursor() as cursor:
        cursor.execute("create table app.echo_notes (id int generated always as identity primary key, text text)")
        cursor.execute("grant insert, select on app.echo_notes to app_job")
        yield
        cursor.execute("drop table app.echo_notes")


@pytest.fixture
def brand_id(make_brand: Any) -> UUID:
    return UUID(str(make_brand()["id"]))


@pytest.mark.usefixtures("implementation")
def test_repeated_call_has_one_effect_and_one_answer(as_job: AsJob, brand_id: UUID) -> None:
    with as_job(brand_id=brand_id) as job:
        first = echo().note(Note(text="a"), key=job.idempotency_key)
        second = echo().note(Note(text="a"), key=job.idempotency_key)
        other = echo().note(Note(text="a"), key="another")

    assert first == second == Noted(number=1, text="a")
    assert other.number == 2


@pytest.mark.usefixtures("implementation")
def test_concurrent_calls_with_one_key_have_one_effect(as_job: AsJob, brand_id: UUID) -> None:
    def act() -> Noted:
        try:
            return echo().note(Note(text="a"), key="k")
        finally:
            close_thread_connections()

    with as_job(brand_id=brand_id), ThreadPoolExecutor(gateway.PLACES) as at_once:
        answers = list(at_once.map(lambda copy: copy.run(act), [copy_context() for _ in range(gateway.PLACES)]))
        after = echo().note(Note(text="b"), key="another")

    assert answers == [Noted(number=1, text="a")] * gateway.PLACES
    assert after.number == 2


@pytest.mark.usefixtures("implementation")
def test_key_of_other_request_is_refused(as_job: AsJob, brand_id: UUID) -> None:
    with as_job(brand_id=brand_id):
        echo().note(Note(text="a"), key="k")
        with pytest.raises(ServiceKeyReused):
            echo().note(Note(text="b"), key="k")


@pytest.mark.usefixtures("implementation")
def test_refusal_has_its_code_and_is_recorded(as_job: AsJob, brand_id: UUID, query: Query) -> None:
    with as_job(brand_id=brand_id), pytest.raises(ServiceRefused) as refused:
        echo().note(Note(text="full"), key="k")

    assert (refused.value.code, refused.value.status, refused.value.detail) == (
        "conflict",
        409,
        "The notebook is full.",
    )
    assert query("select outcome, error_code from passport_calls") == [("refused", "conflict")]


def note(as_job: AsJob, brand_id: UUID, text: str = "a", key: str = "k", attempt: int = 1) -> str:
    """Call the service in a job. Return `ok`, the code of the refusal, or the cause of the failure."""
    with as_job(brand_id=brand_id, attempt=attempt):
        try:
            echo().note(Note(text=text), key=key)
        except ServiceUnavailable as error:
            return error.cause
        except ServiceRefused as refusal:
            return refusal.code
    return "ok"


FAULTS = {
    "status": "status",
    "garbage": "bad_answer",
    "wrong_schema": "bad_answer",
    "huge": "bad_answer",
    "redirect": "status",
    "drop_before": "bad_answer",
    "drop_after": "bad_answer",
}
"""Faults of the server and the recorded causes."""


def test_fault_of_the_server_is_retried_with_one_effect(
    as_job: AsJob, brand_id: UUID, over_http: Counterpart, query: Query, clock: Clock, health: HealthStore
) -> None:
    for fault, cause in FAULTS.items():
        over_http.reset()
        clock.now += 2 * health.rules.window  # Or the breaker would open.
        over_http.fail(fault)

        assert [note(as_job, brand_id), note(as_job, brand_id, attempt=2)] == [cause, "ok"], fault
        assert over_http.counts() == {"calls": {"note": 2}, "effects": {"note": 1}}, fault

    recorded = query("select outcome, error_code from passport_calls order by created_at")
    assert recorded == [pair for cause in FAULTS.values() for pair in (("failed", cause), ("ok", None))]


def test_slow_server_times_out_and_has_one_effect(as_job: AsJob, brand_id: UUID, over_http: Counterpart) -> None:
    over_http.fail("slow", seconds=0.7)

    assert [note(as_job, brand_id), note(as_job, brand_id, attempt=2)] == ["timeout", "ok"]
    assert over_http.counts()["effects"] == {"note": 1}


def test_server_that_is_down_is_a_failed_connection(
    as_job: AsJob, brand_id: UUID, over_http: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = replace(over_http.route, url=f"http://127.0.0.1:{sockets.free_port()}")
    monkeypatch.setattr(services, "route", {"echo": nowhere}.get)

    assert note(as_job, brand_id) == "connection"


def test_retry_after_of_the_server_delays_the_job(as_job: AsJob, brand_id: UUID, over_http: Counterpart) -> None:
    over_http.fail("status", status=429, retry_after="17")
    with as_job(brand_id=brand_id), pytest.raises(ServiceUnavailable) as seconds:
        echo().note(Note(text="a"), key="k")
    over_http.fail("status", status=503, retry_after="Sun, 06 Nov 2094 08:49:37 GMT")
    with as_job(brand_id=brand_id), pytest.raises(ServiceUnavailable) as date:
        echo().note(Note(text="a"), key="k")

    assert (seconds.value.cause, seconds.value.retry_after) == ("throttled", 17)
    assert (date.value.cause, date.value.retry_after) == ("status", http_transport.MAX_RETRY_AFTER)


def test_engine_waits_as_long_as_the_service_asks(runner: Runner, ledger: Ledger, query: Query) -> None:
    with transaction(context.for_system_job()):
        enqueue("test.throttled")
        enqueue("test.postponed")

    for claim in ledger.claim(take(ledger, "test.throttled", "test.postponed"), 1):
        runner.run(claim)

    waits = query("select actor, attempts, due_at > now() + interval '16 seconds' from app.jobs order by actor")
    assert waits == [("test.postponed", 0, True), ("test.throttled", 1, True)]


@pytest.fixture(autouse=True)
def actors(temporary_actors: None) -> None:
    """Declare actors whose service asks for a wait."""

    @actor("test.throttled", runs_as="system", outward=True)
    def throttled() -> None:
        raise ServiceUnavailable(17, cause="throttled")

    @actor("test.postponed", runs_as="system", outward=True)
    def postponed() -> None:
        raise NotSent(17, cause="circuit_open")

    @actor("test.note", outward=True, max_attempts=1)
    def noted() -> None:
        echo().note(Note(text="a"), key=current_job().idempotency_key)


def test_breaker_opens_and_closes_with_the_server(
    as_job: AsJob, brand_id: UUID, over_http: Counterpart, clock: Clock, health: HealthStore
) -> None:
    over_http.fail("status", times=10)
    failing = [note(as_job, brand_id, key=f"k{number}") for number in range(11)]
    while_open = over_http.counts()["calls"]["note"]
    clock.now += health.rules.open_for
    recovered = [note(as_job, brand_id, key=f"k{number}") for number in range(11)]

    assert failing == ["status"] * 10 + ["circuit_open"]
    assert while_open == 10
    assert recovered == ["ok"] * 11
    assert over_http.counts()["effects"] == {"note": 11}


def test_calls_go_on_while_redis_is_gone(as_job: AsJob, brand_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"redis://127.0.0.1:{sockets.free_port()}/0"
    monkeypatch.setattr(services, "health", HealthStore(nowhere))

    assert [note(as_job, brand_id, key=f"k{number}") for number in range(3)] == ["ok"] * 3


def test_refusals_do_not_open_the_breaker(as_job: AsJob, brand_id: UUID, over_http: Counterpart) -> None:
    assert {note(as_job, brand_id, "full", f"k{number}") for number in range(15)} == {"conflict"}
    assert note(as_job, brand_id) == "ok"


def test_call_beyond_the_places_of_a_service_is_postponed(as_job: AsJob, brand_id: UUID) -> None:
    held = [gateway._places["echo"].acquire() for _ in range(gateway.PLACES)]

    full = note(as_job, brand_id)
    for _ in held:
        gateway._places["echo"].release()

    assert (full, note(as_job, brand_id)) == ("bulkhead", "ok")


def test_call_that_the_policy_denies_is_recorded_and_not_sent(
    as_job: AsJob, brand_id: UUID, over_http: Counterpart, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(policy.POLICY, ("echo", "note"), frozenset({"fan", "system"}))

    with as_job(brand_id=brand_id), pytest.raises(CallDenied):
        echo().note(Note(text="a"), key="k")

    assert over_http.counts()["calls"] == {}
    assert query("select outcome, error_code from passport_calls") == [("denied", "call_denied")]
    audited = "select action, outcome, reason, brand_id, record_key from audit_logs where action like 'passport%%'"
    assert query(audited) == [("passport.refused", "refused", "call_denied", brand_id, "echo.note")]


def test_record_of_a_call_has_no_personal_data_and_no_secret(as_job: AsJob, brand_id: UUID, query: Query) -> None:
    note(as_job, brand_id)

    ((shown, size, outcome),) = query("select request, request_bytes, outcome from passport_calls")
    ((action, details, brand),) = query(
        "select action, details, brand_id from audit_logs where action like 'passport%%'"
    )
    assert shown == {"text": "a", "email": "[redacted]", "secret_code": "[redacted]"}
    assert (size > 50, outcome) == (True, "ok")
    assert (action, brand) == ("passport.called", brand_id)
    assert details["after"] == {"outcome": "ok", "key": "k", "transport": "local"}


def test_connection_to_the_server_is_kept(as_job: AsJob, brand_id: UUID, over_http: Counterpart) -> None:
    outcomes = [note(as_job, brand_id, key=f"k{number}") for number in range(3)]

    sender = gateway._http_senders["echo", over_http.route]
    assert outcomes == ["ok"] * 3
    assert len(sender._client._idle) == 1


def test_key_that_is_being_replaced_is_accepted_and_an_unknown_one_is_not(
    as_job: AsJob, brand_id: UUID, over_http: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"old": OLD_KEY, "unknown": "test:" + OLD_KEY.partition(":")[2]}
    outcomes = {}
    for name, key in keys.items():
        monkeypatch.setattr(services, "route", {"echo": replace(over_http.route, key=key)}.get)
        outcomes[name] = note(as_job, brand_id, key=name)

    assert outcomes == {"old": "ok", "unknown": "status"}


def test_failed_call_is_listed_and_its_job_replayed_once(
    client: Client, brand_id: UUID, over_http: Counterpart, drain: Drain, admin: Account
) -> None:
    over_http.fail("status")
    with transaction(context.for_system_job()):
        enqueue("test.note", brand_id=brand_id)
    drain(allow_dead=True)
    token = admin.token

    listed = client.get("/api/v1/passport/calls?outcome=failed&service=echo", token=token).json["items"]
    replayed = client.post(f"/api/v1/passport/calls/{listed[0]['id']}/replay", token=token)
    drain()
    again = client.post(f"/api/v1/passport/calls/{listed[0]['id']}/replay", token=token)
    (service,) = [
        found for found in client.get("/api/v1/passport/services", token=token).json["items"] if found["name"] == "echo"
    ]
    metrics = client.get("/metrics", remote_addr="127.0.0.1").text.splitlines()

    assert 'companon_service_calls_recently{outcome="failed",service="echo"} 1.0' in metrics
    assert 'companon_service_breaker{service="echo"} 0.0' in metrics
    assert [(call["error_code"], call["transport"]) for call in listed] == [("status", "http")]
    assert (replayed.status_code, replayed.json["id"]) == (202, listed[0]["job_id"])
    assert (again.status_code, again.json["code"]) == (404, "not_found")
    assert (service["calls"], service["failed"], service["error_share"], service["breaker"]) == (2, 1, 0.5, "closed")
    assert over_http.counts() == {"calls": {"note": 2}, "effects": {"note": 1}}
