"""Test requests that wait for the end of a job: results, refusals, and what a waiting request holds."""

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from falcon.asgi import Request, Response
from msgspec import Meta

from jobs.engine import actor
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from jobs.passport.contract import ServiceRefused, ServiceUnavailable
from models.jobs.ledger import enqueue
from settings import settings
from tests.fixtures.jobs import Drain, take
from tests.fixtures.web import Client, running
from tests.support.brokers import until
from web.app import build_dependencies, create_app
from web.http import waiting
from web.http.endpoint import endpoint, wait_for

NEVER = threading.Event()


class Out(msgspec.Struct):
    """Result of the job."""

    text: Annotated[str, Meta(description="Text.")]


class Works:
    """`/works/{verb}`: work that a job does."""

    @endpoint(response=Out, permission="authenticated", waits=True, idempotent=True)
    def on_post(self, req: Request, resp: Response, verb: str) -> None:
        """Start the job `waited.<verb>` and answer with its result."""
        wait_for(req, resp, enqueue(f"waited.{verb}"), lambda: Out("result"))  # type: ignore[arg-type]

    @endpoint(response=Out, permission="authenticated")
    def on_get(self, req: Request, resp: Response, verb: str) -> None:
        """Answer at once."""
        resp.media = Out("at once")


@pytest.fixture(autouse=True)
def actors(temporary_actors: None) -> None:
    """Declare outward actors that succeed, are refused, fail, and meet a failing service."""

    @actor("waited.done", outward=True)
    def done() -> None:
        pass

    @actor("waited.refused", outward=True)
    def refused() -> None:
        raise ServiceRefused("conflict", "The notebook is full.")

    @actor("waited.broken", outward=True, max_attempts=1)
    def broken() -> None:
        raise ValueError("an internal detail")

    @actor("waited.down", outward=True, max_attempts=1)
    def down() -> None:
        raise ServiceUnavailable(cause="timeout")


@pytest.fixture(scope="module")
def application(database: str) -> Iterator[tuple[Client, Any]]:
    """Serve the application with two threads. Yield a client and the dependencies."""
    dependencies = build_dependencies(dataclasses.replace(settings, web_threads=2))
    with running(create_app(settings, dependencies, [("/works/{verb}", Works())]), Client) as client:
        yield client, dependencies


@pytest.fixture
def post(application: tuple[Client, Any], member: Any) -> Callable[..., Any]:
    """`post(verb)`: send the request that waits for the job `waited.<verb>`."""
    client, token = application[0], member().token
    return lambda verb, **headers: client.post(f"/works/{verb}", token=token, headers=headers)


@pytest.mark.usefixtures("worker")
def test_request_is_answered_with_result_of_its_job(post: Callable[..., Any]) -> None:
    answer = post("done")

    assert (answer.status_code, answer.json) == (200, {"text": "result"})
    assert "location" not in answer.headers


@pytest.mark.usefixtures("worker")
def test_failed_job_answers_with_its_problem(post: Callable[..., Any]) -> None:
    refused, broken, down = post("refused"), post("broken"), post("down")

    assert (refused.status_code, refused.json["code"], refused.json["detail"]) == (
        409,
        "conflict",
        "The notebook is full.",
    )
    assert (broken.status_code, broken.json["code"]) == (503, "job_failed")
    assert "internal detail" not in broken.text
    assert (down.status_code, down.json["code"]) == (503, "service_unavailable")


def test_job_that_takes_longer_is_answered_with_202(post: Callable[..., Any], drain: Drain) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = post("done", **headers), post("done", **headers)

    assert (first.status_code, first.json["state"]) == (202, "waiting")
    assert first.headers["location"] == again.headers["location"] == f"/api/v1/jobs/{first.json['id']}"
    assert drain() == ["waited.done"]


def test_waiting_requests_hold_no_thread_and_wake_without_redis(
    application: tuple[Client, Any], post: Callable[..., Any], member: Any, drain: Drain, monkeypatch: Any
) -> None:
    client, dependencies = application
    monkeypatch.setattr(waiting, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(waiting, "CHANNEL", "another channel")
    with ThreadPoolExecutor(20) as at_once:
        sent = [at_once.submit(post, "done") for _ in range(20)]
        while dependencies.jobs.count < 20:
            NEVER.wait(0.01)
        beside = client.get("/works/done", token=member().token)
        in_threads = dependencies.pool.admitted
        drain()
        answers = [answer.result().status_code for answer in sent]

    assert beside.status_code == 200
    assert in_threads <= 1  # the poll
    assert answers == [200] * 20


@pytest.mark.slow
def test_two_hundred_waiting_requests_get_their_result_or_202(
    application: tuple[Client, Any], member: Any, ledger: Ledger, runner: Runner, monkeypatch: Any
) -> None:
    client, dependencies = application
    monkeypatch.setattr(waiting, "WAIT_SECONDS", 30.0)
    tokens = [member().token for _ in range(20)]

    def post(number: int) -> int:
        verb, token = ("done", "refused")[number % 2], tokens[number % len(tokens)]
        while (answer := client.post(f"/works/{verb}", token=token)).status_code == 503:  # the burst fills the queue
            NEVER.wait(0.05)
        return int(answer.status_code)

    with ThreadPoolExecutor(200) as at_once:
        sent = [at_once.submit(post, number) for number in range(200)]
        while dependencies.jobs.count < 200:
            NEVER.wait(0.01)
        in_threads = dependencies.pool.admitted
        beside = [client.get("/works/done", token=token).status_code for token in tokens]
        for claim in ledger.claim(take(ledger, "waited.done", most=200), 1):
            runner.run(claim)
        answers = Counter(answer.result() for answer in sent)

    assert in_threads <= 1  # the poll
    assert beside == [200] * len(tokens)
    assert answers == {200: 100, 202: 100}


def test_announcement_wakes_the_request_before_the_next_poll(
    application: tuple[Client, Any], post: Callable[..., Any], drain: Drain, monkeypatch: Any
) -> None:
    client, jobs = application[0], application[1].jobs
    monkeypatch.setattr(waiting, "WAIT_SECONDS", 60.0)
    client.call(jobs.stop)
    until(lambda: not jobs.is_listening)
    monkeypatch.setattr(jobs, "_ended", _never)
    with ThreadPoolExecutor(1) as at_once:
        sent = at_once.submit(post, "done")
        until(lambda: jobs.is_listening and jobs.count)
        drain()
        assert sent.result().status_code == 200


async def _never(ids: list[UUID]) -> set[UUID]:
    return set()
