"""Test lookups: a repeated outward job queries its vendor for the effect of earlier attempts."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from jobs.engine import actor, current_job
from jobs.engine.ledger import Ledger
from jobs.engine.worker.current import CurrentJob
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import transaction
from models.jobs import dead_letters
from models.jobs.dead_letters import Filter
from models.jobs.ledger import enqueue as enqueue_job
from tests.fixtures.jobs import take

pytestmark = pytest.mark.usefixtures("temporary_actors")


class Vendor:
    """A vendor that charges each request and finds its charges by key."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.asked: list[str] = []
        self.url = ""

    def charge(self, key: str) -> None:
        """Charge once per request."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{key}", data=b"", method="POST")).close()

    def has_charged(self, key: str) -> bool:
        """Look up a charge."""
        with urllib.request.urlopen(f"{self.url}/{key}") as answer:
            return bool(json.load(answer))


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    vendor = Vendor()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            vendor.charged.append(self.path[1:])
            self.answer(True)

        def do_GET(self) -> None:
            vendor.asked.append(self.path[1:])
            self.answer(self.path[1:] in vendor.charged)

        def answer(self, said: bool) -> None:
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Discard the access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vendor.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield vendor
    server.shutdown()
    thread.join()
    server.server_close()


def run(ledger: Ledger, runner: Runner, name: str) -> str:
    (claim,) = ledger.claim(take(ledger, name), 1)
    return runner.run(claim)


def enqueue(name: str) -> UUID:
    with transaction(context.for_system_job()):
        return enqueue_job(name).id


@pytest.mark.parametrize("charged_before_failure", [True, False])
def test_replayed_charge_is_made_once(admin, ledger, runner, vendor: Vendor, charged_before_failure) -> None:
    answers = [charged_before_failure, True]

    def is_charged(job: CurrentJob) -> bool:
        return vendor.has_charged(job.idempotency_key)

    @actor("test.charge", runs_as="system", outward=True, max_attempts=1, lookup=is_charged)
    def charge() -> None:
        lives = answers.pop(0)
        if lives:
            vendor.charge(current_job().idempotency_key)
        if len(answers) == 1:
            raise OSError("the connection broke at an unknown moment")

    id = enqueue("test.charge")
    assert run(ledger, runner, "test.charge") == "dead"
    assert vendor.asked == []

    with admin.acting():
        dead_letters.replay(Filter(ids=[id]))
    ending = run(ledger, runner, "test.charge")

    assert (ending, vendor.charged, vendor.asked) == ("done", [f"job-{id}"], [f"job-{id}"])


def test_reclaimed_job_calls_its_lookup(ledger, runner, vendor: Vendor) -> None:
    @actor("test.charge", runs_as="system", outward=True, lookup=lambda job: vendor.has_charged(job.idempotency_key))
    def charge() -> None:
        raise AssertionError("it has been charged")

    id = enqueue("test.charge")
    ledger.claim(take(ledger, "test.charge"), 1)
    vendor.charge(f"job-{id}")
    ledger.release([id], 1)

    assert run(ledger, runner, "test.charge") == "done"
    assert vendor.charged == [f"job-{id}"]


def test_unknown_lookup_repeats_the_call_with_the_same_key(ledger, runner, vendor) -> None:
    @actor("test.charge", runs_as="system", outward=True, lookup=lambda job: None)
    def charge() -> None:
        vendor.charge(current_job().idempotency_key)

    id = enqueue("test.charge")
    ledger.claim(take(ledger, "test.charge"), 1)
    ledger.release([id], 1)

    assert run(ledger, runner, "test.charge") == "done"
    assert vendor.charged == [f"job-{id}"]


def test_lookup_of_inward_actor_is_refused() -> None:
    with pytest.raises(ValueError, match="set outward=True"):
        actor("test.inward", lookup=lambda job: True)(lambda: None)
