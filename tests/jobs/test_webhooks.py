"""Deliver webhooks: signatures, order, back-off, leases, and what a dead endpoint costs others."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from standardwebhooks import WebhookVerificationError

import jobs.webhooks as actors
from jobs.engine import registry
from models.core import context, http_fetch, keys
from models.core.database import transaction
from models.jobs.ledger import enqueue
from models.webhooks import attempts, delivery, endpoints, outbox, signatures, targets
from models.webhooks.delivery import Lease, LeaseLost
from scripts.devstack import sockets
from scripts.devstack.environment import ROOT
from settings import settings
from tests.support.authority import Authority
from tests.support.kills import kill_after, kill_before

DELIVER = "webhook.deliver"


@pytest.fixture
def elapse(superuser):
    """`elapse(seconds=…)`: shift the times of endpoints into the past, as if this time had passed."""

    def shift(**time):
        with superuser.cursor() as cursor:
            cursor.execute(
                "update app.webhook_endpoints set retry_at = retry_at - %(by)s, leased_until = leased_until - %(by)s,"
                " failing_since = failing_since - %(by)s, previous_secret_until = previous_secret_until - %(by)s",
                {"by": timedelta(**time)},
            )
            cursor.execute("update app.jobs set due_at = due_at - %s", (timedelta(**time),))

    return shift


@pytest.fixture
def state(superuser):
    """`state(endpoint)`: its row."""

    def read(subscribed):
        with superuser.cursor() as cursor:
            cursor.execute(
                "select row_to_json(e), (select count(*) from app.webhook_outbox o where o.endpoint_id = e.id and"
                " delivered_at is null), extract(epoch from e.retry_at - now())"
                " from app.webhook_endpoints e where id = %s",
                (str(subscribed.id),),
            )
            row, pending, wait = cursor.fetchone()
        return row | {"pending": pending, "wait": wait and float(wait)}

    return read


@pytest.fixture
def log(member):
    """`log(endpoint)`: status and error of its attempts, oldest first."""

    def read(subscribed):
        with member().acting():
            return [(one.status, one.error) for one in reversed(attempts.find(subscribed.id, limit=100))]

    return read


def acting(subscribed):
    return transaction(context.for_brand_job(subscribed.brand_id))


def lease(subscribed, fence=1):
    return Lease(subscribed.id, subscribed.brand_id, fence)


def test_delivered_webhook_verifies_over_its_raw_body(subscribe, publish, receiver, drain):
    subscribed = subscribe()

    publish(z="é", a="ñ\u2028")
    drain()

    (request,) = receiver.requests
    payload = request.verify(subscribed.secret)
    assert payload["data"] == {"number": 0, "z": "é", "a": "ñ\u2028"}
    assert payload["type"] == "reward.granted"
    assert list(json.loads(request.body)["data"]) == ["number", "z", "a"]
    assert "é".encode() in request.body
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 43 + "=")


def test_replaced_secret_signs_as_well_for_a_day(subscribe, publish, receiver, drain, member, elapse):
    subscribed, ana = subscribe(), member()
    with ana.acting():
        replaced = endpoints.rotate_secret(subscribed.id)

    publish()
    drain()
    elapse(hours=24, seconds=1)
    publish()
    drain()

    both, newest = receiver.requests
    assert both.verify(subscribed.secret) == both.verify(replaced)
    assert newest.verify(replaced)
    with pytest.raises(WebhookVerificationError):
        newest.verify(subscribed.secret)


def test_one_job_delivers_all_events_of_an_endpoint_in_order(subscribe, publish, receiver, drain, state):
    subscribed = subscribe()

    publish(5)
    ran = drain()

    assert ran.count(DELIVER) == 1
    assert [json.loads(request.body)["data"]["number"] for request in receiver.requests] == list(range(5))
    assert (state(subscribed)["pending"], state(subscribed)["leased_until"]) == (0, None)


def test_job_past_its_time_leaves_the_rest_to_its_successor(subscribe, publish, receiver, drain, monkeypatch):
    monkeypatch.setattr(actors, "RUN_SECONDS", 0.0)
    subscribe()

    publish(3)
    ran = drain()

    assert ran.count(DELIVER) == 3
    assert [json.loads(request.body)["data"]["number"] for request in receiver.requests] == [0, 1, 2]


def test_failed_delivery_is_repeated_with_its_id_before_newer_ones(
    subscribe, publish, receiver, drain, elapse, state, log
):
    subscribed = subscribe()
    receiver.answer(500, b"broken")
    publish(2)

    drain()
    failed = state(subscribed)
    elapse(seconds=6)
    with acting(subscribed):
        outbox.enqueue_delivery(subscribed.id)
    drain()

    first, again, second = receiver.ids
    assert first == again != second
    assert (failed["failures"], failed["pending"]) == (1, 2)
    assert 4 < failed["wait"] < 5.6
    assert (state(subscribed)["failures"], state(subscribed)["retry_at"], state(subscribed)["pending"]) == (0, None, 0)
    assert log(subscribed) == [(500, "status_500"), (200, None), (200, None)]


def test_waits_between_attempts_follow_the_schedule_for_three_days():
    seconds = [round(delivery.wait_after(n, timedelta()) / timedelta(seconds=1)) for n in range(1, 8)]

    for wait, scheduled in zip(seconds, (5, 300, 1800, 7200, 18_000, 36_000, 50_400), strict=True):
        assert scheduled <= wait <= scheduled * 1.1 + 1
    assert delivery.wait_after(9, timedelta(hours=52)) == timedelta(hours=20)
    assert delivery.wait_after(1, timedelta(), 600.0) == timedelta(seconds=600)
    assert delivery.wait_after(1, timedelta(), float("inf")) == timedelta(days=1)


_NO_DATE = "Sun, 06 Nov 2094 08:49:37 +" + "9" * 20


@pytest.mark.parametrize(
    ("status", "asked", "wait"), [(429, "3600", 3600), (503, "120", 120), (429, "soon", 5), (503, _NO_DATE, 5)]
)
def test_retry_after_of_receiver_delays_the_next_attempt(
    subscribe, publish, receiver, drain, state, status, asked, wait
):
    subscribed = subscribe()
    receiver.answer(status, Retry_After=asked)
    publish()

    drain()

    assert wait - 2 < state(subscribed)["wait"] < wait * 1.1 + 1


def test_endpoint_that_answers_410_is_disabled_and_its_brand_notified(
    client, subscribe, publish, receiver, drain, state, member, mailbox
):
    subscribed, ana = subscribe(), member()
    receiver.answer(410)
    publish(2)

    drain()
    publish()

    found = state(subscribed)
    (notified,) = client.get("/api/v1/notifications", token=ana.token).json["items"]
    assert (found["disabled_reason"], found["pending"], len(receiver.requests)) == ("gone", 2, 1)
    assert (notified["kind"], notified["subject_id"]) == ("webhook_disabled", str(subscribed.id))
    assert "http://127.0.0.1 " in notified["text"]
    assert len(mailbox.to(ana.email)) == 1


@pytest.mark.usefixtures("mailbox")
def test_endpoint_that_fails_for_three_days_is_disabled(subscribe, publish, receiver, drain, state, elapse):
    subscribed = subscribe()
    publish()
    waits = []
    while state(subscribed)["disabled_at"] is None:
        receiver.answer(500)
        with acting(subscribed):
            outbox.enqueue_delivery(subscribed.id)
        drain()
        waits.append(state(subscribed)["wait"])
        elapse(seconds=(waits[-1] or 0) + 1)

    assert (state(subscribed)["disabled_reason"], len(receiver.requests)) == ("failing", len(waits))
    assert 8 <= len(waits) <= 10
    assert sum(wait or 0 for wait in waits) == pytest.approx(3 * 86_400, abs=60)


def test_redirect_is_a_failure_and_is_not_followed(subscribe, publish, receiver, drain, log):
    subscribed = subscribe()
    receiver.answer(302, Location=receiver.url)
    publish()

    drain()

    assert (log(subscribed), len(receiver.requests)) == ([(302, "status_302")], 1)


def test_response_longer_than_the_limit_is_a_success_and_cut(subscribe, publish, receiver, drain, member):
    subscribed = subscribe()
    receiver.answer(200, b"x" * 3_000_000)
    publish()

    drain()

    with member().acting():
        (attempt,) = attempts.find(subscribed.id, limit=10)
    assert (attempt.status, attempt.error, len(attempt.response)) == (200, None, actors.RESPONSE_BYTES)


def test_receiver_that_does_not_answer_in_time_has_failed(subscribe, publish, hostile_server, drain, log, monkeypatch):
    assert delivery.LEASE.total_seconds() > delivery.TIMEOUT
    monkeypatch.setattr(delivery, "TIMEOUT", 0.2)
    server = hostile_server([b"HTTP/1.1 200 OK\r\nX: "], b"x")
    subscribed = subscribe(url=f"http://127.0.0.1:{server.port}/")
    publish()

    drain()

    assert log(subscribed) == [(None, "timeout")]


def test_answer_with_endless_body_is_a_success(subscribe, publish, hostile_server, drain, log, monkeypatch):
    monkeypatch.setattr(delivery, "TIMEOUT", 0.2)
    server = hostile_server([b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"], b"x")
    subscribed = subscribe(url=f"http://127.0.0.1:{server.port}/")
    publish()

    drain()

    assert log(subscribed) == [(200, None)]


def test_second_job_sends_nothing_while_one_delivers(subscribe, publish, receiver, drain):
    subscribed, found = subscribe(), []

    def begin_another():
        with acting(subscribed):
            found.append(delivery.begin(lease(subscribed)))

    receiver.on_request = begin_another
    publish(2)
    drain()

    assert (found, len(receiver.requests)) == ([None, None], 2)


def test_event_published_during_a_delivery_is_sent_by_the_same_job(subscribe, publish, receiver, drain):
    subscribe()
    receiver.on_request = lambda: publish() if len(receiver.requests) == 1 else None

    publish()
    drain()

    assert len(receiver.requests) == 2


def test_result_of_a_lost_lease_is_not_recorded(subscribe, publish, receiver, state, elapse, log):
    subscribed = subscribe()
    publish()
    with acting(subscribed):
        old = delivery.begin(lease(subscribed, 1))
    elapse(seconds=delivery.LEASE.total_seconds() + 1)
    with acting(subscribed):
        new = delivery.begin(lease(subscribed, 2))

    attempt = actors.send(old)
    with pytest.raises(LeaseLost), acting(subscribed):
        delivery.record(old, attempt, may_continue=True)

    assert old.event_id == new.event_id
    assert (state(subscribed)["pending"], log(subscribed)) == (1, [])


def test_job_whose_earlier_claim_was_lost_tries_again_after_the_lease(subscribe, publish, superuser):
    subscribed = subscribe()
    publish()
    with acting(subscribed):
        assert delivery.begin(lease(subscribed, 1))
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")

    with acting(subscribed):
        assert delivery.begin(lease(subscribed, 2)) is None

    with superuser.cursor() as cursor:
        cursor.execute("select extract(epoch from due_at - now()) from app.jobs where actor = %s", (DELIVER,))
        ((wait,),) = cursor.fetchall()
    assert 0 < wait <= delivery.LEASE.total_seconds()


def test_secret_is_encrypted_anew_after_a_rotation_of_the_root_secrets(
    subscribe, publish, receiver, drain, superuser, monkeypatch
):
    subscribed = subscribe()
    with superuser.cursor() as cursor:
        cursor.execute("select secret from app.webhook_endpoints")
        old = bytes(cursor.fetchone()[0])
        roots = keys._roots()
        monkeypatch.setattr(keys, "_roots", lambda: {9: b"9" * 32, **roots})
        publish()
        drain()
        cursor.execute("select secret from app.webhook_endpoints")
        new = bytes(cursor.fetchone()[0])

    assert receiver.requests[0].verify(subscribed.secret)
    assert (old[0] in roots, new[0], signatures.decrypt(new, subscribed.id)) == (True, 9, subscribed.secret)


def test_event_with_unreadable_secret_is_not_sent(subscribe, publish, receiver, drain, superuser, log):
    subscribed = subscribe()
    with superuser.cursor() as cursor:
        cursor.execute("update app.webhook_endpoints set secret = '\\xff00'::bytea")
    publish()

    drain()

    assert (log(subscribed), receiver.requests) == ([(None, "secret_unreadable")], [])


def test_sweep_deletes_old_events_and_delivers_stalled_ones(subscribe, publish, receiver, drain, superuser, state):
    subscribed = subscribe()
    publish(2)
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")
        cursor.execute(
            "update app.webhook_outbox set occurred_at = now() - case when event_id = (select max(event_id::text)::uuid"
            " from app.webhook_outbox) then interval '2 minutes' else interval '4 days' end"
        )

    with transaction(context.for_system_job()):
        enqueue("webhooks.sweep")
    drain()

    assert [json.loads(request.body)["data"]["number"] for request in receiver.requests] == [1]
    assert (state(subscribed)["dropped"], state(subscribed)["pending"]) == (1, 0)


CRASHING = """
import sys
from uuid import UUID
import jobs.webhooks as actors
from jobs.engine import registry
from models.core import context
from models.core.database import transaction
from models.webhooks import delivery
endpoint_id, brand_id = map(UUID, sys.argv[1:])
with transaction(context.for_brand_job(brand_id)):
    event = delivery.begin(delivery.Lease(endpoint_id, brand_id, 1))
actors.send(event)
print("not killed", flush=True)
"""


def test_event_is_sent_again_with_its_id_after_kill_before_the_mark(subscribe, publish, receiver, drain, elapse, state):
    subscribed = subscribe()
    publish(2)
    command = [sys.executable, "-c", CRASHING, str(subscribed.id), str(subscribed.brand_id)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE) as child:
        receiver.on_request = lambda: os.kill(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
    receiver.on_request = lambda: None

    drain()
    while_leased = len(receiver.requests)
    elapse(seconds=delivery.LEASE.total_seconds() + 1)
    with acting(subscribed):
        outbox.enqueue_delivery(subscribed.id)
    drain()

    first, again, second = receiver.ids
    assert (output, while_leased, first == again != second) == (b"", 1, True)
    assert state(subscribed)["pending"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arrange", "repeated"), [(kill_before, 0), (kill_after, 1)], ids=["before the request", "after the request"]
)
def test_delivery_of_a_killed_worker_goes_on(
    subscribe, publish, receiver, drain, drain_with_kill, elapse, state, arrange, repeated
):
    subscribed = subscribe()
    publish(2)

    drain_with_kill(lambda: arrange(actors, "send"), rounds=1)
    while_leased = len(receiver.requests)
    elapse(seconds=delivery.LEASE.total_seconds() + 1)
    drain()

    ids = receiver.ids
    assert (drain_with_kill.has_killed, while_leased) == (True, repeated)
    assert (len(ids), len(set(ids)), ids[:1] * repeated) == (2 + repeated, 2, ids[1:2] * repeated)
    assert state(subscribed)["pending"] == 0


def test_slow_endpoints_of_some_brands_leave_threads_for_other_work():
    limits = registry.find(DELIVER).limits

    assert (limits.max_per_brand, limits.max_running) == (2, settings.webhook_concurrency)
    assert limits.max_per_brand < limits.max_running < settings.worker_threads


def deliver_beside_a_dead_endpoint(events, subscribe, publish, brand, make_brand, drain, superuser):
    """Publish for a dead endpoint, with an event of another brand after each 50. Return jobs run and rows left."""
    other = make_brand("Other")
    dead = subscribe(url=f"http://127.0.0.1:{sockets.free_port()}/")
    subscribe(brand=other)
    ran = []
    for _ in range(events // 50):
        publish(50)
        publish(1, brand=other)
        ran += drain()
    with transaction(context.for_system_job()):
        outbox.expire()
    with superuser.cursor() as cursor:
        cursor.execute(
            "select count(*), (select count(*) from app.jobs where brand_id = %(brand)s),"
            " (select dropped from app.webhook_endpoints where id = %(dead)s) from app.webhook_outbox"
            " where endpoint_id = %(dead)s",
            {"dead": str(dead.id), "brand": str(brand["id"])},
        )
        return ran.count(DELIVER), cursor.fetchone()


def test_dead_endpoint_delays_no_other_brand_and_stays_bounded(
    subscribe, publish, brand, make_brand, drain, superuser, receiver, monkeypatch
):
    monkeypatch.setattr(outbox, "MAX_EVENTS", 100)

    ran, (stored, waiting, dropped) = deliver_beside_a_dead_endpoint(
        300, subscribe, publish, brand, make_brand, drain, superuser
    )

    # One job for each event of the other brand; for the dead endpoint the first attempt and its early repetition.
    assert (len(receiver.requests), ran) == (6, 6 + 2)
    assert (stored, dropped) == (100, 200)
    assert waiting <= 1


@pytest.mark.slow
def test_dead_endpoint_with_100_000_events_delays_no_other_brand(
    subscribe, publish, brand, make_brand, drain, superuser, receiver
):
    ran, (stored, waiting, dropped) = deliver_beside_a_dead_endpoint(
        101_000, subscribe, publish, brand, make_brand, drain, superuser
    )

    # Each attempt at the dead endpoint takes two jobs here: `drain` also runs its repetition early. Three attempts are
    # due within the first half hour.
    assert len(receiver.requests) == 2020
    assert ran - 2020 <= 6
    assert (stored, dropped) == (outbox.MAX_EVENTS, 1000)
    assert waiting <= 1


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


class Resolver:
    """Resolves each name to the next of `addresses`, at the port of a local server."""

    def __init__(self, *addresses, port):
        self.addresses, self.port, self.asked = list(addresses), port, []

    def __call__(self, host, port, **_):
        self.asked.append((host, port))
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, self.port))]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def named(subscribe, hostile_server, authority, monkeypatch):
    """`named(*addresses, host=…)`: an endpoint at `https://hooks.brand.example`, its TLS server, and the resolver."""

    def make(*addresses, certified="hooks.brand.example"):
        server = hostile_server([OK], context=authority.certify(certified).context())
        resolver = Resolver(*addresses, port=server.port)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
        monkeypatch.setattr(http_fetch.socket, "getaddrinfo", resolver)
        return subscribe(url="https://hooks.brand.example/events"), server, resolver

    return make


def test_webhook_over_tls_goes_to_the_address_that_was_checked(named, publish, drain, log, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    subscribed, server, resolver = named("127.0.0.1")
    publish()

    drain()

    assert log(subscribed) == [(200, None)]
    assert b"\r\nHost: hooks.brand.example\r\n" in server.received
    assert resolver.asked == [("hooks.brand.example", 443)] * 2  # when saved, and once for the connection


def test_webhook_to_server_with_another_certificate_fails(named, publish, drain, log):
    subscribed, server, _ = named("127.0.0.1", certified="other.brand.example")
    publish()

    drain()

    assert (log(subscribed), server.received) == ([(None, "tls_failed")], b"")


@pytest.mark.parametrize("bound", ["169.254.169.254", "10.0.0.1", "100.64.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_name_bound_to_inner_address_after_saving_is_not_called(named, publish, drain, log, bound):
    subscribed, server, resolver = named("93.184.216.34", bound)
    publish()

    drain()

    assert log(subscribed) == [(None, "address_refused")]
    assert (server.received, len(resolver.asked)) == (b"", 2)


def test_stored_url_that_is_not_allowed_any_more_is_not_called(subscribe, publish, receiver, drain, log, monkeypatch):
    subscribed = subscribe()
    monkeypatch.setattr(targets, "is_allowed", lambda url: False)
    publish()

    drain()

    assert (log(subscribed), receiver.requests) == ([(None, "url_refused")], [])
