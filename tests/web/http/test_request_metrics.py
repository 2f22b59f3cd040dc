"""Metrics of requests: which series a request adds to, and that clients can't create series."""

import threading
import time
from types import SimpleNamespace

import pytest
from falcon.asgi import Response

from models.core import database
from models.core.context import unauthenticated
from models.core.database import open_connections, transaction
from models.core.errors import REGISTRY, Conflict, TooMany
from tests.support.brokers import until
from web.http import request_metrics
from web.http.endpoint import endpoint
from web.http.request_metrics import METRICS

COUNT = "companon_http_request_seconds_count"


class Thing:
    """Answer as its id says."""

    def __init__(self):
        self.proceed = threading.Event()

    @endpoint(permission="public", counts="scans")
    def on_post(self, req, resp, thing_id):
        if thing_id == "conflict":
            raise Conflict
        if thing_id == "limited":
            raise TooMany("later", retry_after=1)
        resp.status = 200 if thing_id == "again" else 201
        resp.media = {}

    @endpoint(permission="public", counts="sign_ins")
    def on_get(self, req, resp, thing_id):
        if thing_id == "slow":
            self.proceed.wait(60)
        resp.media = {}


@pytest.fixture
def thing():
    made = Thing()
    yield made
    made.proceed.set()


@pytest.fixture
def api(serve, thing):
    return serve({"/things/{thing_id}": thing})


def series():
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in METRICS.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }


def added(act):
    """Return the counters that `act` adds to, with the amounts."""
    before = series()
    act()
    return {
        name: value - before.get(name, 0.0)
        for name, value in series().items()
        if name[0].endswith(("_count", "_total")) and value != before.get(name, 0.0)
    }


def test_requests_are_counted_by_template_and_not_by_path(api):
    def ask():
        for number in range(5):
            api.post(f"/things/{number}")

    assert added(ask) == {
        (COUNT, "/things/{thing_id}", "POST", "2xx"): 5,
        ("companon_scans_total", "accepted"): 5,
    }


def test_unknown_paths_and_methods_share_one_series(api):
    def ask():
        for number in range(5):
            api.get(f"/nowhere/{number}")
            api.request(f"X{number}", f"/nowhere/{number}")

    counted = added(ask)

    requests = {name[1:]: amount for name, amount in counted.items() if name[0] == COUNT}
    assert requests[("other", "GET", "4xx")] == 5
    assert sum(requests.values()) == 10
    assert {route for route, _, _ in requests} == {"other"}
    assert {method for _, method, _ in requests} == {"GET", "other"}
    assert {method for _, method, _ in request_metrics._series} <= request_metrics.METHODS


def test_refusals_are_counted_by_code_and_as_outcomes(api):
    def ask():
        for name in ("conflict", "limited", "again"):
            api.post(f"/things/{name}")

    counted = added(ask)

    assert {name[1:]: amount for name, amount in counted.items() if name[0] != COUNT} == {
        ("conflict",): 1,
        ("rate_limited",): 1,
        ("replayed",): 1,
    }
    assert counted["companon_scans_total", "rate_limited"] == counted["companon_http_refusals_total", "rate_limited"]


def test_outcome_of_repeated_success_is_accepted_unless_scans_are_counted(api):
    assert added(lambda: api.get("/things/1"))["companon_sign_ins_total", "accepted"] == 1


def test_latency_of_a_request_is_in_its_bucket(api, monkeypatch):
    def bucket(bound):
        labels = {"route": "/things/{thing_id}", "method": "GET", "status": "2xx", "le": bound}
        return METRICS.get_sample_value("companon_http_request_seconds_bucket", labels) or 0.0

    before = [bucket(bound) for bound in ("2.5", "10.0")]
    monkeypatch.setattr(request_metrics, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + 5))
    api.get("/things/1")

    assert [bucket(bound) for bound in ("2.5", "10.0")] == [before[0], before[1] + 1]


def test_series_that_alerts_watch_begin_with_zero(api):
    known = series()

    limits = [code for code, registered in REGISTRY.items() if registered.status in (429, 503)]
    assert [code for code in limits if ("companon_http_refusals_total", code) not in known] == []
    assert ("companon_scans_total", "geofence_outside") in known
    assert ("companon_sign_ins_total", "invalid_credentials") in known


def test_refusal_of_an_unregistered_code_is_counted_as_other():
    assert added(lambda: request_metrics.count_refusal("made-up")) == {("companon_http_refusals_total", "other"): 1}


def test_load_of_a_pool_is_sampled(serve, thing, monkeypatch):
    monkeypatch.setattr(request_metrics, "SAMPLE_SECONDS", 0.01)
    api = serve({"/things/{thing_id}": thing}, threads=1, queue=3)
    callers = [threading.Thread(target=api.get, args=("/things/slow",)) for _ in range(3)]
    for caller in callers:
        caller.start()

    until(lambda: series().get(("companon_pool_waiting", "test")) == 2)
    assert (series()["companon_pool_running", "test"], series()["companon_pool_capacity", "test"]) == (1, 4)

    thing.proceed.set()
    for caller in callers:
        caller.join(60)
    until(lambda: series()["companon_pool_running", "test"] == 0)


def test_open_connections_are_counted_until_they_are_closed(db_clean):
    def query():
        with transaction(unauthenticated()):
            database.value("select 1")
        counts.append(open_connections())
        database.close_thread_connections()
        counts.append(open_connections())

    counts: list[int] = []
    before = open_connections()
    thread = threading.Thread(target=query)
    thread.start()
    thread.join(60)

    assert counts == [before + 1, before]


def test_problem_without_response_has_no_code():
    assert not hasattr(Response().context, "code")
