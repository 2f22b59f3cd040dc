"""Tests of `/healthz` and `/readyz`."""

import asyncio
import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from settings import settings
from tests.support.brokers import until
from tests.web.conftest import serving
from web.app import create_app
from web.http.shared_result import SharedResult
from web.operations import health


@pytest.fixture
def check(serve):
    """Return a function that returns the answer of /readyz of an application with these checks."""

    def ask(required, optional=None):
        return serve({"/checked": health.Ready(required, optional or {})}).get("/checked")

    return ask


def works():
    return "answers"


def fails():
    raise ConnectionRefusedError("host=db.internal password=hunter2")


def test_liveness_checks_no_dependency(serve):
    answer = serve({}).get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_readiness_with_all_dependencies_is_ok(check):
    answer = check({"a": works}, {"b": works})

    assert answer.status_code == 200
    assert answer.json["status"] == "ok"
    assert answer.json["checks"]["b"]["detail"] == "answers"


def test_readiness_without_a_required_dependency_is_503(check):
    answer = check({"a": fails, "b": works})

    assert (answer.status_code, answer.json["status"]) == (503, "unavailable")
    assert [answer.json["checks"][name]["ok"] for name in "ab"] == [False, True]


def test_readiness_without_an_optional_dependency_is_degraded(check):
    answer = check({"a": works}, {"b": fails})

    assert (answer.status_code, answer.json["status"]) == (200, "degraded")


def test_readiness_hides_details_of_a_failure(check):
    answer = check({"a": fails})

    assert answer.json["checks"]["a"]["detail"] == "ConnectionRefusedError"
    assert "hunter2" not in answer.text


def test_hanging_check_fails_in_time_and_is_not_started_again(serve, monkeypatch):
    monkeypatch.setattr(health, "TIMEOUT", 0.1)
    door, entered = threading.Event(), []

    def hangs():
        entered.append(1)
        return "answers" if door.wait() else ""

    api = serve({"/checked": health.Ready({"a": hangs}, {})})

    hanging = [api.get("/checked") for _ in range(3)]
    assert len(entered) == 1
    door.set()
    until(lambda: api.get("/checked").status_code == 200)

    assert [answer.status_code for answer in hanging] == [503] * 3
    assert {answer.json["checks"]["a"]["detail"] for answer in hanging} == {"no answer within 0 s"}


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_concurrent_readiness_requests_share_one_check(serve, monkeypatch, seconds):
    monkeypatch.setattr(health, "SHARED_SECONDS", seconds)
    running, most, count = [], [], itertools.count()

    def checked():
        running.append(next(count))
        most.append(len(running))
        running.pop()
        return "answers"

    api = serve({"/checked": health.Ready({"a": checked, "b": works}, {})})
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: api.get("/checked"), range(160)))

    assert {answer.status_code for answer in answers} == {200}
    assert max(most) == 1
    assert len(most) == 1 or not seconds


def test_readiness_is_checked_again_after_a_second(serve):
    answers = iter(["answers", "answers again"])
    api = serve({"/checked": health.Ready({"a": lambda: next(answers)}, {})})

    assert [api.get("/checked").json["checks"]["a"]["detail"] for _ in range(2)] == ["answers", "answers again"]


def test_disconnected_caller_does_not_end_a_shared_check():
    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def produce():
            begun.set()
            await go_on.wait()
            return "answer"

        shared = SharedResult(produce)
        gone, other = asyncio.create_task(shared.get(0)), asyncio.create_task(shared.get(0))
        await begun.wait()
        gone.cancel()
        await asyncio.wait([gone])
        go_on.set()
        return await other

    assert asyncio.run(main()) == "answer"


def ready(**changes):
    with serving(create_app(dataclasses.replace(settings, log_level="WARNING", **changes), routes=[])) as api:
        return api.get("/readyz")


def test_complete_installation_is_ready(database):
    answer = ready()

    assert (answer.status_code, answer.json["status"]) == (200, "ok"), answer.text
    assert set(answer.json["checks"]) == {"postgres", "migrations", "redis"}
    assert answer.json["checks"]["migrations"]["detail"] == "at head"


def test_installation_without_redis_is_degraded(database):
    answer = ready(redis_url="unix:///nonexistent/redis.sock?db=0")

    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert not answer.json["checks"]["redis"]["ok"]


@pytest.mark.parametrize(("reached", "status"), [(True, "ok"), (False, "degraded")])
def test_separate_broker_is_checked(database, redis_url, reached, status):
    answer = ready(broker_url=redis_url if reached else "amqp://127.0.0.1:1/")

    assert (answer.status_code, answer.json["status"]) == (200, status)
    assert answer.json["checks"]["broker"]["ok"] == reached


def test_database_older_than_the_release_is_not_ready(database, monkeypatch):
    monkeypatch.setattr(health, "_versions", lambda: frozenset({"29991231235959"}))

    answer = ready()

    assert answer.status_code == 503
    assert answer.json["checks"]["postgres"]["ok"]
    assert answer.json["checks"]["migrations"]["detail"] == "1 missing, the first is 29991231235959"
