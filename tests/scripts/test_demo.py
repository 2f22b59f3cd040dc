"""Tests of the parts of the demonstration: plan, HTTP client, results."""

import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.commands.demo import plan, report
from scripts.commands.demo.http_client import Client, DemoFailed
from scripts.commands.demo.results import UNSTORED, Results, percentile


@pytest.fixture
def planned():
    return plan.make(500, seed=7, seconds=10)


def test_plan_of_same_seed_is_the_same(planned):
    assert plan.make(500, seed=7, seconds=10) == planned
    assert plan.make(500, seed=8, seconds=10) != planned


@pytest.mark.parametrize("number", [1, 5, 11, 12, 60, 500])
def test_plan_has_the_requested_number_of_phones(number):
    phones = plan.make(number, seed=1, seconds=1).phones

    assert len({phone.number for phone in phones}) == number


def test_plan_has_every_behaviour_and_mostly_accepted_scans(planned):
    behaviours = Counter(phone.behaviour for phone in planned.phones)
    expected = planned.expected()

    assert set(behaviours) == {"single", "shared device", *(name for _, name, _ in plan.BEHAVIOURS)}
    assert expected["accepted"] > 0.75 * expected.total()
    assert set(expected) >= {"geofence_outside", "cap_exhausted", "limit_reached", "consent_required", "bad_token"}


def test_shared_device_has_at_least_three_people(planned):
    people = Counter(phone.fingerprint for phone in planned.phones)

    assert {count for count in people.values() if count > 1} == {plan.SHARERS}
    assert plan.SHARERS >= 3


def test_client_repeats_the_same_body_until_a_decision(server):
    server.responses = [b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", b"", _ACCEPTED]
    client = Client(server.base, until=time.monotonic() + 120)

    response = client.send("POST", "/scan", {"client_scan_id": "one"})

    assert (response.status, response.body, response.attempts) == (201, {"id": "a"}, 3)
    assert server.bodies == [b'{"client_scan_id": "one"}'] * 3


def test_client_repeats_a_rate_limit_but_no_campaign_limit(server):
    server.responses = [_problem("rate_limited", retry_after=0), _problem("limit_reached", retry_after=3600)]
    client = Client(server.base, until=time.monotonic() + 120)

    response = client.send("POST", "/scan", {})

    assert (response.code, response.attempts) == ("limit_reached", 2)


def test_client_fails_with_the_reason_when_time_is_over():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", until=time.monotonic() + 0.3)

    with pytest.raises(DemoFailed, match=r"GET /nowhere: .*refused"):
        client.get("/nowhere")


def test_client_does_not_repeat_a_server_error(server):
    server.responses = [b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]
    client = Client(server.base, until=time.monotonic() + 120)

    with pytest.raises(DemoFailed, match="500"):
        client.send("GET", "/")


def test_results_report_a_scan_with_two_ids():
    results = Results()
    results.add_outcome("accepted", "client id", "first id", 0.1)

    results.add_replay("client id", "another id", 200)
    results.add_replay("client id", "first id", 201)
    results.add_outcome("accepted", "another client id", "first id", 0.1)

    assert len(results.mistakes) == 3


def test_results_count_forged_codes_apart_from_rejected_scans():
    results = Results()
    for outcome in ("accepted", "bad_token", "geofence_outside", "limit_reached"):
        results.add_outcome(outcome, outcome, outcome, 0.1)

    assert (results.accepted, results.rejected, results.refused) == (1, 2, 1)


@pytest.mark.parametrize(
    ("number", "wrong"),
    [("accepted", "accepted"), ("rejected", "rejected"), ("flagged", "flagged"), ("reach", "people reached")],
)
def test_report_marks_a_number_that_differs_by_one(planned, number, wrong):
    results, totals = _as_planned(planned)
    totals[number] += 1

    marked = [row.name for row in report.rows(planned, results, totals) if not row.agrees]

    assert marked == [wrong]


def test_report_marks_no_number_that_goes_as_planned(planned):
    results, totals = _as_planned(planned)

    assert all(row.agrees for row in report.rows(planned, results, totals))


def _as_planned(planned):
    """Return results and an overview that agree with the plan."""
    expected = planned.expected()
    results = Results(decided=Counter(expected))
    reasons = {name: count for name, count in expected.items() if name not in ("accepted", *UNSTORED)}
    totals = {
        "accepted": expected["accepted"],
        "rejected": sum(reasons.values()),
        "rejected_by_reason": reasons,
        "unstored_by_reason": {name: expected[name] for name in UNSTORED if name != "bad_token"},
        "flagged": sum(bool(scan.flags) for scan in planned.scans),
        "flagged_by_rule": dict(planned.flags()),
        "reach": planned.reach(),
    }
    return results, totals


def test_percentile_is_the_nearest_rank():
    values = [15, 20, 35, 40, 50]

    assert [percentile(values, share) for share in (0.05, 0.3, 0.4, 0.5, 1.0)] == [15, 20, 20, 35, 50]


class Server(ThreadingHTTPServer):
    """Server that returns the responses of a test byte for byte. An empty response closes the connection."""

    responses: list[bytes]

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = []
        self.base = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        self.do_GET()

    def do_GET(self):
        self.wfile.write(response := self.server.responses.pop(0))
        self.close_connection = not response

    def log_message(self, format, *args):  # noqa: A002 - the standard library's
        """Log nothing."""


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def _problem(code, retry_after):
    body = b'{"code": "%s"}' % code.encode()
    return b"HTTP/1.1 429 Too Many\r\nRetry-After: %d\r\nContent-Length: %d\r\n\r\n%s" % (retry_after, len(body), body)


_ACCEPTED = b'HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n{"id": "a"}'
