"""What the demonstration is made of: its plan, its patient client, its books."""

import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.commands.demo import crowd, report
from scripts.commands.demo.http import Client, GaveUp
from scripts.commands.demo.tally import UNSTORED, Tally, percentile


@pytest.fixture
def gathered():
    return crowd.gather(500, seed=7, seconds=10)


def test_a_seed_brings_the_same_crowd_again(gathered):
    assert crowd.gather(500, seed=7, seconds=10) == gathered
    assert crowd.gather(500, seed=8, seconds=10) != gathered


@pytest.mark.parametrize("number", [1, 5, 11, 12, 60, 500])
def test_as_many_phones_come_as_were_asked_for(number):
    phones = crowd.gather(number, seed=1, seconds=1).phones

    assert len({phone.number for phone in phones}) == number


def test_a_crowd_has_every_habit_and_mostly_people_who_do_as_they_should(gathered):
    habits = Counter(phone.habit for phone in gathered.phones)
    expected = gathered.expected()

    assert set(habits) == {"visitor", "sharer", *(name for _, name, _ in crowd.HABITS)}
    assert expected["accepted"] > 0.75 * expected.total()
    assert set(expected) >= {"geofence_outside", "cap_exhausted", "limit_reached", "consent_required", "bad_token"}


def test_a_shared_device_is_in_three_hands_or_more(gathered):
    people = Counter(phone.fingerprint for phone in gathered.phones)

    assert {count for count in people.values() if count > 1} == {crowd.SHARERS}
    assert crowd.SHARERS >= 3


def test_a_phone_asks_again_with_the_same_words_until_there_is_a_decision(server):
    server.answers = [b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", b"", _ACCEPTED]
    client = Client(server.base, until=time.monotonic() + 120)

    answer = client.ask("POST", "/scan", {"client_scan_id": "one"})

    assert (answer.status, answer.body, answer.tries) == (201, {"id": "a"}, 3)
    assert server.bodies == [b'{"client_scan_id": "one"}'] * 3


def test_a_limit_of_a_campaign_is_a_decision_and_a_rate_limit_is_not(server):
    server.answers = [_problem("rate_limited", retry_after=0), _problem("limit_reached", retry_after=3600)]
    client = Client(server.base, until=time.monotonic() + 120)

    answer = client.ask("POST", "/scan", {})

    assert (answer.code, answer.tries) == ("limit_reached", 2)


def test_a_client_gives_up_when_its_time_is_over_and_says_what_was_wrong():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", until=time.monotonic() + 0.3)

    with pytest.raises(GaveUp, match=r"GET /nowhere: .*refused"):
        client.get("/nowhere")


def test_an_answer_that_is_a_defect_is_not_asked_for_again(server):
    server.answers = [b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]
    client = Client(server.base, until=time.monotonic() + 120)

    with pytest.raises(GaveUp, match="500"):
        client.ask("GET", "/")


def test_the_books_notice_a_scan_that_has_become_two():
    tally = Tally()
    tally.decide("accepted", "phone's", "first id", 0.1)

    tally.replay("phone's", "another id", 200)
    tally.replay("phone's", "first id", 201)
    tally.decide("accepted", "another phone's", "first id", 0.1)

    assert len(tally.mistakes) == 3


def test_the_books_count_forged_codes_apart_from_rejected_scans():
    tally = Tally()
    for outcome in ("accepted", "bad_token", "geofence_outside", "limit_reached"):
        tally.decide(outcome, outcome, outcome, 0.1)

    assert (tally.accepted, tally.rejected, tally.refused) == (1, 2, 1)


@pytest.mark.parametrize(
    ("number", "wrong"),
    [("accepted", "accepted"), ("rejected", "rejected"), ("flagged", "flagged"), ("reach", "people reached")],
)
def test_a_number_that_is_off_by_one_is_marked(gathered, number, wrong):
    tally, totals = _as_planned(gathered)
    totals[number] += 1

    marked = [row.name for row in report.rows(gathered, tally, totals) if not row.agrees]

    assert marked == [wrong]


def test_numbers_that_go_as_planned_agree(gathered):
    tally, totals = _as_planned(gathered)

    assert all(row.agrees for row in report.rows(gathered, tally, totals))


def _as_planned(gathered):
    """The books and the overview of a day on which everything goes right."""
    expected = gathered.expected()
    tally = Tally(decided=Counter(expected))
    reasons = {name: count for name, count in expected.items() if name not in ("accepted", *UNSTORED)}
    totals = {
        "accepted": expected["accepted"],
        "rejected": sum(reasons.values()),
        "rejected_by_reason": reasons,
        "unstored_by_reason": {name: expected[name] for name in UNSTORED if name != "bad_token"},
        "flagged": sum(bool(scan.flags) for scan in gathered.scans),
        "flagged_by_rule": dict(gathered.flags()),
        "reach": gathered.reach(),
    }
    return tally, totals


def test_a_percentile_is_the_nearest_rank():
    values = [15, 20, 35, 40, 50]

    assert [percentile(values, share) for share in (0.05, 0.3, 0.4, 0.5, 1.0)] == [15, 20, 20, 35, 50]


class Server(ThreadingHTTPServer):
    """Gives the answers that the test lays out, byte for byte; an empty one breaks the connection."""

    answers: list[bytes]

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
        self.wfile.write(answer := self.server.answers.pop(0))
        self.close_connection = not answer

    def log_message(self, format, *args):  # noqa: A002 - the standard library's
        """Nobody reads it."""


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
