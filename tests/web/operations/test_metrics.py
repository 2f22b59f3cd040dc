"""Tests of `/metrics` and of the probes of processes, over the tables that they read."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg2.extensions import connection

from jobs.engine.heartbeat import Heartbeat
from jobs.engine.ledger import Ledger
from models.core import context, database
from models.core.database import transaction
from models.jobs.ledger import enqueue as enqueue_job
from tests.fixtures.accounts import Account
from tests.fixtures.jobs import Drain, take
from tests.fixtures.web import Client
from web.operations import health

Query = Callable[..., None]
BRANDS = [f"0197a000-0000-7000-8000-00000000000{digit}" for digit in "abc"]


@pytest.fixture
def query(superuser: connection) -> Query:
    def run(sql: str, *params: object) -> None:
        with superuser.cursor() as cursor:
            cursor.execute(sql, params)

    return run


def scrape(client: Client) -> dict[str, float]:
    answer = client.get("/metrics", remote_addr="127.0.0.1")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def enqueue(count: int, name: str = "requests.expire") -> None:
    with transaction(context.for_system_job()):
        for _ in range(count):
            enqueue_job(name)


def test_every_metric_has_its_help_and_type(client: Client, ledger: Ledger) -> None:
    enqueue(1)

    text = client.get("/metrics", remote_addr="127.0.0.1").text

    assert "# HELP companon_jobs_dead Dead letters.\n# TYPE companon_jobs_dead gauge\n" in text
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP companon_")}
    named = {line.partition("{")[0].split()[0] for line in text.splitlines() if not line.startswith("#")}
    of_histogram = {name for name in named if name.startswith("companon_http_request_seconds")}
    assert named - of_histogram <= helped
    assert len(helped) == 25


def test_jobs_are_counted_by_actor_and_state(client: Client, ledger: Ledger, query: Query) -> None:
    enqueue(5)
    ledger.claim(take(ledger, "requests.expire", most=2)[:1], 1)
    query("insert into app.jobs (id, actor, due_at) values (gen_random_uuid(), 'x.y', now() + interval '1 hour')")
    query("insert into app.jobs (id, actor, due_at) values (gen_random_uuid(), 'x.y', now() - interval '1 hour')")

    found = scrape(client)

    states = ("waiting", "due", "published", "running")
    counted = {
        actor: [found[f'companon_jobs{{actor="{actor}",state="{state}"}}'] for state in states]
        for actor in ("requests.expire", "x.y")
    }
    assert counted == {"requests.expire": [3, 3, 1, 1], "x.y": [2, 1, 0, 0]}


def test_actor_without_waiting_jobs_is_counted(client: Client, ledger: Ledger) -> None:
    enqueue(1)
    take(ledger, "requests.expire")

    assert scrape(client)['companon_jobs{actor="requests.expire",state="published"}'] == 1


def test_counts_of_the_clock_are_shown_with_their_age(client: Client, ledger: Ledger, query: Query) -> None:
    enqueue(5)
    assert ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '20 seconds'")
    enqueue(1)

    found = scrape(client)

    assert found['companon_jobs{actor="requests.expire",state="waiting"}'] == 5
    assert found["companon_jobs_counted_age_seconds"] >= 20


def test_slow_counts_of_the_clock_are_shown_for_longer(client: Client, ledger: Ledger, query: Query) -> None:
    enqueue(5)
    assert ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '30 minutes', took = '1 minute'")
    enqueue(1)

    assert scrape(client)['companon_jobs{actor="requests.expire",state="waiting"}'] == 5

    query("update app.job_counts set counted_at = now() - interval '41 minutes'")
    assert scrape(client)['companon_jobs{actor="requests.expire",state="waiting"}'] == 6


def test_stale_counts_of_the_clock_are_replaced_at_the_scrape(client: Client, ledger: Ledger, query: Query) -> None:
    ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '1 minute', took = '0'")
    enqueue(1)

    found = scrape(client)

    assert found['companon_jobs{actor="requests.expire",state="waiting"}'] == 1
    assert found["companon_jobs_counted_age_seconds"] == 0


def test_clocks_count_at_most_a_twentieth_of_the_time(ledger: Ledger, query: Query) -> None:
    assert ledger.count_jobs()
    query("update app.job_counts set took = '0', counted_at = now() - interval '3 seconds'")
    assert not ledger.count_jobs()
    query("update app.job_counts set took = '1 hour', counted_at = now() - interval '10 hours'")
    assert not ledger.count_jobs()
    query("update app.job_counts set counted_at = now() - interval '20 hours'")
    assert ledger.count_jobs()


def test_oldest_due_job_has_its_age_in_seconds(client: Client, ledger: Ledger, query: Query) -> None:
    enqueue(3)
    for number, age in enumerate((100, 50, -3600)):
        query(
            "update app.jobs set due_at = now() - make_interval(secs => %s)"
            " where id = (select id from app.jobs order by id offset %s limit 1)",
            age,
            number,
        )

    age = scrape(client)['companon_jobs_oldest_due_seconds{actor="requests.expire"}']

    assert 100 <= age < 130


def test_actor_without_due_jobs_has_no_age(client: Client, ledger: Ledger, query: Query) -> None:
    query("insert into app.jobs (id, actor, due_at) values (gen_random_uuid(), 'x.y', now() + interval '1 hour')")

    assert scrape(client)['companon_jobs_oldest_due_seconds{actor="x.y"}'] == 0


def test_lag_is_shown_for_the_brands_that_wait_longest(
    client: Client, ledger: Ledger, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.operations.metrics.MAX_BRANDS", 2)
    for brand, seconds in zip(BRANDS, (60, 120, -3600), strict=True):
        query(
            "insert into app.jobs (id, actor, brand_id, due_at)"
            " values (gen_random_uuid(), 'x.y', %s, now() - make_interval(secs => %s))",
            brand,
            seconds,
        )
    query(
        "insert into app.jobs (id, actor, brand_id, due_at)"
        " values (gen_random_uuid(), 'x.y', '0197a000-0000-7000-8000-00000000000d', now() - interval '30 seconds')"
    )

    found = scrape(client)

    lags = {name: lag for name, lag in found.items() if name.startswith("companon_brand_lag_seconds")}
    assert [name.split('"')[1] for name in lags] == [BRANDS[1], BRANDS[0]]
    assert 120 <= lags[f'companon_brand_lag_seconds{{brand="{BRANDS[1]}"}}'] < 150

    monkeypatch.setattr("models.operations.metrics.MAX_BRANDS", 9)
    found = scrape(client)
    assert len([name for name in found if name.startswith("companon_brand_lag_seconds")]) == 3


def test_finished_jobs_of_the_last_minutes_are_summarised(client: Client, drain: Drain, query: Query) -> None:
    enqueue(3)
    drain()
    query(
        "update app.job_history set attempts = 2, created_at = t.now - interval '6 seconds',"
        " claimed_at = t.now - interval '4 seconds', finished_at = t.now - interval '1 second'"
        " from (select now() as now) t"
    )
    query(
        "insert into app.job_history (id, actor, args, version, state, attempts, crashes, created_at, claimed_at,"
        " finished_at) select gen_random_uuid(), actor, args, version, s.state, 9, 0, now() - interval '1 hour',"
        " now() - interval '1 hour', now() - s.age from app.job_history h, (values ('cancelled', interval '1 second'),"
        " ('done', interval '6 minutes')) s (state, age) limit 2"
    )

    found = scrape(client)

    assert found['companon_jobs_ended_recently{actor="requests.expire"}'] == 3
    assert found['companon_jobs_attempts_recently{actor="requests.expire"}'] == 6
    for quantile in ("0.50", "0.95"):
        label = f'{{actor="requests.expire",quantile="{quantile}"}}'
        assert found[f"companon_job_start_seconds{label}"] == 2
        assert found[f"companon_job_run_seconds{label}"] == 3


def test_dead_letters_are_counted_by_actor(client: Client, ledger: Ledger) -> None:
    enqueue(2)
    for held in ledger.claim(take(ledger, "requests.expire"), 1):
        ledger.dead_letter(held, {"kind": "ValueError", "message": ""})

    assert scrape(client)['companon_jobs_dead{actor="requests.expire"}'] == 2


def test_mails_are_failing_between_a_failed_attempt_and_the_next(client: Client, ledger: Ledger, query: Query) -> None:
    ledger.register_actors({"mail": ["mail.signup", "mail.invitation"], "default": ["x.y"]})
    for actor, attempts, published in (
        ("mail.signup", 1, "null"),
        ("mail.signup", 3, "null"),
        ("mail.signup", 0, "null"),
        ("mail.signup", 1, "now()"),
        ("x.y", 1, "null"),
    ):
        query(
            "insert into app.jobs (id, actor, attempts, published_at, state) values (gen_random_uuid(), %s, %s,"
            f" {published}, case when {published} is null then 'waiting' else 'published' end)",
            actor,
            attempts,
        )

    found = scrape(client)

    failing = {name: count for name, count in found.items() if name.startswith("companon_mails_failing")}
    assert failing['companon_mails_failing{actor="mail.signup"}'] == 2
    assert failing['companon_mails_failing{actor="mail.invitation"}'] == 0
    assert not [name for name in failing if "x.y" in name]


def test_heartbeat_of_each_process_decides_its_probe(client: Client, ledger: Ledger, query: Query) -> None:
    for kind in ("relay", "worker", "clock", "seal"):
        assert client.get(f"/healthz/{kind}").status_code == 503

        Heartbeat(kind, ledger).beat()
        assert client.get(f"/healthz/{kind}").status_code == 200

        query("update app.heartbeats set at = now() - interval '1 minute'")
        silent = client.get(f"/healthz/{kind}")
        assert (silent.status_code, silent.json["code"]) == (503, "no_heartbeat")

        query("insert into app.heartbeats (kind, process) values (%s, 'another')", kind)
        assert client.get(f"/healthz/{kind}").status_code == 200

        query("update app.heartbeats set at = now() - interval '1 minute'")
        Heartbeat(kind, ledger).beat()
        assert client.get(f"/healthz/{kind}").status_code == 200


def test_workers_of_each_queue_have_a_probe(client: Client, ledger: Ledger) -> None:
    ledger.register_actors({"scans": ["scan.score"], "mail": ["mail.signup"]})
    Heartbeat("worker", ledger, "scans").beat()

    answers = [
        client.get(f"/healthz/{kind}").status_code for kind in ("worker", "worker-scans", "worker-mail", "worker-x")
    ]

    assert answers == [200, 200, 503, 404]


@pytest.mark.parametrize("path", ["/healthz/relay", "/healthz/audit"])
def test_probe_of_many_callers_in_a_second_is_one_query(
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


def test_probe_of_an_unknown_process_returns_404(client: Client) -> None:
    assert client.get("/healthz/nothing").status_code == 404


def test_metrics_for_another_machine_return_403(client: Client) -> None:
    refused = client.get("/metrics", remote_addr="192.0.2.7")

    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")


def test_unsealed_entries_are_measured_and_fail_the_probe(client: Client, query: Query) -> None:
    assert client.get("/healthz/audit").json == {
        "unsealed": 0,
        "oldest_unsealed_seconds": 0,
        "checkpoint_seconds": None,
    }
    for age in (10, 100, 50):
        query(
            "insert into public.audit_logs (action, timestamp) values ('test.act', now() - make_interval(secs => %s))",
            age,
        )

    found, probed = scrape(client), client.get("/healthz/audit")

    assert found["companon_audit_unsealed"] == 3
    assert 100 <= found["companon_audit_oldest_unsealed_seconds"] < 130
    assert found["companon_audit_checkpoint_age_seconds"] == math.inf
    assert (probed.status_code, probed.json["code"]) == (503, "audit_behind")


def test_sealed_entries_without_a_checkpoint_fail_the_probe(client: Client, query: Query) -> None:
    for seq, age in ((1, "3 hours"), (2, "1 minute")):
        query(
            "insert into public.audit_logs (action, seq, mac, key_version, sealed_at)"
            " values ('test.act', %s, 'x', 1, now() - %s::interval)",
            seq,
            age,
        )

    assert client.get("/healthz/audit").status_code == 503

    stored = (
        "insert into app.audit_checkpoints values (%s, now() - %s::interval, 'x', '{}', case when %s then now() end)"
    )
    query(stored, 1, "20 minutes", True)
    query(stored, 2, "10 minutes", True)
    query(stored, 3, "1 minute", False)
    assert 600 <= client.get("/healthz/audit").json["checkpoint_seconds"] < 660


def test_first_seal_of_an_hour_ago_needs_no_checkpoint_yet(client: Client, query: Query) -> None:
    for seq, age in ((1, "1 hour"), (2, "3 hours")):
        query(
            "insert into public.audit_logs (action, seq, mac, key_version, sealed_at)"
            " values ('test.act', %s, 'x', 1, now() - %s::interval)",
            seq,
            age,
        )

    assert client.get("/healthz/audit").status_code == 200


def test_label_values_are_escaped(client: Client, query: Query) -> None:
    query("insert into app.jobs (id, actor, due_at) values (gen_random_uuid(), %s, now())", 'x"\\\ny')

    assert '{actor="x\\"\\\\\\ny",state="due"} 1.0' in client.get("/metrics", remote_addr="127.0.0.1").text


def test_outcomes_of_scans_and_sign_ins_are_counted(
    client: Client, phone: Callable[..., Any], campaign: Callable[..., Any], code_of: Callable[..., str], admin: Account
) -> None:
    device = phone()
    body = device.body(code_of(campaign()))
    before = scrape(client)

    for sent in (body, body, body | {"code": "none of ours"}):
        device.send(sent)
    for password in (admin.password, "not the password"):
        client.post("/api/v1/auth/login", json={"email": admin.email, "password": password})
    client.post("/api/v1/auth/refresh", json={"refresh_token": "none of ours"})

    after = scrape(client)
    outcomes = ("companon_scans_total", "companon_sign_ins_total")
    rises = {name: after[name] - before.get(name, 0) for name in after if name.startswith(outcomes)}
    assert {name: rise for name, rise in rises.items() if rise} == {
        'companon_scans_total{outcome="accepted"}': 1,
        'companon_scans_total{outcome="replayed"}': 1,
        'companon_scans_total{outcome="bad_token"}': 1,
        'companon_sign_ins_total{outcome="accepted"}': 1,
        'companon_sign_ins_total{outcome="invalid_credentials"}': 1,
        'companon_sign_ins_total{outcome="refresh_token_invalid"}': 1,
    }
