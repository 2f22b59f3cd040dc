"""What Prometheus and a platform's probes are told, from the ledger itself."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import connection

from jobs.engine.heartbeat import Heartbeat
from jobs.engine.ledger import Ledger
from models.core import context, database
from models.core.database import transaction
from models.jobs import ledger as jobs
from models.operations.metrics import Metric
from tests.fixtures.jobs import Drain, take
from tests.fixtures.web import Client
from web.operations import health
from web.operations.metrics import render

Query = Callable[..., None]


@pytest.fixture
def query(superuser: connection) -> Query:
    def run(sql: str) -> None:
        with superuser.cursor() as cursor:
            cursor.execute(sql)

    return run


def scrape(client: Client) -> dict[str, float]:
    answer = client.get("/metrics", remote_addr="127.0.0.1")
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def enqueue(count: int, name: str = "requests.expire") -> None:
    with transaction(context.for_system_job()):
        for _ in range(count):
            jobs.enqueue(name)


@given(st.integers() | st.floats() | st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_measure_keeps_every_digit_of_its_value(value: float) -> None:
    line = render([Metric("m", "h", [({}, value)])]).splitlines()[-1]

    text = line.removeprefix("m ")
    assert int(text) == value if isinstance(value, int) else repr(float(text)) == repr(float(value))


def test_infinite_measures_are_written_as_prometheus_reads_them() -> None:
    measures = [Metric("m", "h", [({}, math.inf), ({}, -math.inf), ({}, math.nan), ({}, 1234567)])]

    assert render(measures).splitlines()[2:] == ["m +Inf", "m -Inf", "m NaN", "m 1234567"]


def test_jobs_are_counted_by_actor_and_state(client: Client, ledger: Ledger) -> None:
    enqueue(5)
    ledger.claim(take(ledger, "requests.expire", most=2)[:1], 1)

    told = scrape(client)

    of = 'companon_jobs{actor="requests.expire",state="%s"}'
    assert [told[of % state] for state in ("waiting", "published", "running")] == [3, 1, 1]


def test_what_the_clock_has_counted_is_told_and_how_long_ago_that_was(
    client: Client, ledger: Ledger, query: Query
) -> None:
    enqueue(5)
    assert ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '20 seconds', took = '1 hour'")
    enqueue(1)

    told = scrape(client)

    assert told['companon_jobs{actor="requests.expire",state="waiting"}'] == 5
    assert told["companon_jobs_counted_age_seconds"] >= 20


def test_what_nobody_has_counted_for_long_is_counted_by_whoever_asks(
    client: Client, ledger: Ledger, query: Query
) -> None:
    ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '1 minute'")
    enqueue(1)

    told = scrape(client)

    assert told['companon_jobs{actor="requests.expire",state="waiting"}'] == 1
    assert told["companon_jobs_counted_age_seconds"] == 0


def test_several_clocks_count_once_and_spend_little_of_the_time_on_it(ledger: Ledger, query: Query) -> None:
    assert ledger.count_jobs()
    query("update app.job_counts set took = '1 hour', counted_at = now() - interval '10 hours'")
    assert not ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '20 hours'")
    assert ledger.count_jobs()


def test_the_age_of_the_oldest_due_job_is_told(client: Client, ledger: Ledger, query: Query) -> None:
    enqueue(2)
    query("update app.jobs set due_at = now() - interval '100 seconds'")

    age = scrape(client)['companon_jobs_oldest_due_seconds{actor="requests.expire"}']

    assert 100 <= age < 130


def test_the_lag_of_brands_is_told_by_brand(client: Client, ledger: Ledger, query: Query) -> None:
    query(
        "insert into app.jobs (id, actor, brand_id, due_at) values"
        " (gen_random_uuid(), 'x.y', '0197a000-0000-7000-8000-00000000000a', now() - interval '1 minute')"
    )

    told = scrape(client)

    assert 60 <= told['companon_brand_lag_seconds{brand="0197a000-0000-7000-8000-00000000000a"}'] < 90


def test_what_was_done_lately_is_summarised(client: Client, drain: Drain) -> None:
    enqueue(3)
    drain()

    told = scrape(client)

    assert told['companon_jobs_ended_recently{actor="requests.expire"}'] == 3
    assert told['companon_jobs_attempts_recently{actor="requests.expire"}'] == 3
    assert told['companon_job_start_seconds{actor="requests.expire",quantile="0.95"}'] >= 0
    assert told['companon_job_run_seconds{actor="requests.expire",quantile="0.50"}'] >= 0


def test_dead_letters_are_told(client: Client, ledger: Ledger) -> None:
    enqueue(1)
    (held,) = ledger.claim(take(ledger, "requests.expire"), 1)
    ledger.dead_letter(held, {"kind": "ValueError", "message": ""})

    assert scrape(client)['companon_jobs_dead{actor="requests.expire"}'] == 1


@pytest.mark.parametrize("kind", ["relay", "worker", "clock", "seal"])
def test_a_platform_can_probe_a_process_that_speaks_no_http(
    client: Client, ledger: Ledger, query: Query, kind: str
) -> None:
    assert client.get(f"/healthz/{kind}").status_code == 503

    Heartbeat(kind, ledger).beat()
    assert client.get(f"/healthz/{kind}").status_code == 200

    query("update app.heartbeats set at = now() - interval '1 minute'")
    silent = client.get(f"/healthz/{kind}")
    assert (silent.status_code, silent.json["code"]) == (503, "no_heartbeat")


@pytest.mark.parametrize("path", ["/healthz/relay", "/healthz/audit"])
def test_health_asked_by_many_in_a_second_is_one_query(
    client: Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    Heartbeat("relay", ledger).beat()
    begun: list[object] = []
    monkeypatch.setattr(database, "transaction", lambda *who, **how: begun.append(who) or transaction(*who, **how))
    client.get(path)
    monkeypatch.setattr(health, "SHARED_SECONDS", 3600.0)

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: client.get(path), range(160)))

    assert {answer.status_code for answer in answers} == {200}
    assert len(begun) == 1


def test_there_is_no_heartbeat_of_what_does_not_exist(client: Client) -> None:
    assert client.get("/healthz/nothing").status_code == 404


def test_others_may_not_read_the_measures(client: Client) -> None:
    refused = client.get("/metrics", remote_addr="192.0.2.7")

    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")


def test_the_audit_trail_is_measured_and_probed(client: Client, query: Query) -> None:
    assert client.get("/healthz/audit").json == {
        "unsealed": 0,
        "oldest_unsealed_seconds": 0,
        "checkpoint_seconds": None,
    }
    query("insert into public.audit_logs (action, timestamp) values ('test.act', now() - interval '100 seconds')")

    told, probed = scrape(client), client.get("/healthz/audit")

    assert told["companon_audit_unsealed"] == 1
    assert told["companon_audit_oldest_unsealed_seconds"] >= 100
    assert told["companon_audit_checkpoint_age_seconds"] == float("inf")
    assert (probed.status_code, probed.json["code"]) == (503, "audit_behind")


def test_a_trail_without_a_checkpoint_for_hours_is_behind(client: Client, query: Query) -> None:
    query(
        "insert into public.audit_logs (action, seq, mac, key_version, sealed_at)"
        " values ('test.act', 1, 'x', 1, now() - interval '3 hours')"
    )

    assert client.get("/healthz/audit").status_code == 503

    query("insert into app.audit_checkpoints values (1, now() - interval '10 minutes', 'x', '{}', now())")
    assert client.get("/healthz/audit").json["checkpoint_seconds"] >= 600


def test_labels_are_escaped() -> None:
    told: list[tuple[Any, float]] = [({"a": 'x"\\\ny'}, float("inf"))]

    assert render([Metric("m", "h", told)]).splitlines()[-1] == 'm{a="x\\"\\\\\\ny"} +Inf'
