"""Health: alive is cheap, ready is honest, and neither waits for what hangs."""

import dataclasses
import threading

import pytest

from settings import settings
from tests.web.conftest import serving
from web import health
from web.app import create_app


@pytest.fixture
def check(serve):
    """`check(required={…}, wanted={…})`: what /readyz of an application with these checks answers."""

    def ask(required, wanted=None):
        return serve({"/checked": health.Ready(required, wanted or {})}).get("/checked")

    return ask


def works():
    return "answers"


def fails():
    raise ConnectionRefusedError("host=db.internal password=hunter2")


def test_alive_looks_at_nothing(serve):
    answer = serve({}).get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_ready_when_everything_answers(check):
    answer = check({"a": works}, {"b": works})

    assert answer.status_code == 200
    assert answer.json["status"] == "ok"
    assert answer.json["checks"]["b"]["detail"] == "answers"


def test_not_ready_without_what_is_required(check):
    answer = check({"a": fails, "b": works})

    assert (answer.status_code, answer.json["status"]) == (503, "unavailable")
    assert [answer.json["checks"][name]["ok"] for name in "ab"] == [False, True]


def test_degraded_without_what_is_only_wanted(check):
    answer = check({"a": works}, {"b": fails})

    assert (answer.status_code, answer.json["status"]) == (200, "degraded")


def test_the_answer_does_not_tell_everybody_how_it_failed(check):
    answer = check({"a": fails})

    assert answer.json["checks"]["a"]["detail"] == "ConnectionRefusedError"
    assert "hunter2" not in answer.text


def test_a_check_that_hangs_fails_in_time_and_so_does_the_next_without_waiting(serve, monkeypatch):
    monkeypatch.setattr(health, "TIMEOUT", 0.1)
    door = threading.Event()
    api = serve({"/checked": health.Ready({"a": lambda: door.wait() and ""}, {})})

    first, second = api.get("/checked"), api.get("/checked")
    door.set()

    assert (first.status_code, second.status_code) == (503, 503)
    assert "no answer within" in first.json["checks"]["a"]["detail"]
    assert "earlier" in second.json["checks"]["a"]["detail"]


def ready(**changes):
    with serving(create_app(dataclasses.replace(settings, log_level="WARNING", **changes), routes=[])) as api:
        return api.get("/readyz")


def test_a_complete_installation_is_ready(database):
    answer = ready()

    assert (answer.status_code, answer.json["status"]) == (200, "ok"), answer.text
    assert set(answer.json["checks"]) == {"postgres", "migrations", "redis"}
    assert answer.json["checks"]["migrations"]["detail"] == "at head"


def test_without_redis_it_goes_on_and_says_so(database):
    answer = ready(redis_url="unix:///nonexistent/redis.sock?db=0")

    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert not answer.json["checks"]["redis"]["ok"]


@pytest.mark.parametrize(("reached", "status"), [(True, "ok"), (False, "degraded")])
def test_a_broker_beside_redis_is_looked_at_too(database, redis_url, reached, status):
    answer = ready(broker_url=redis_url if reached else "amqp://127.0.0.1:1/")

    assert (answer.status_code, answer.json["status"]) == (200, status)
    assert answer.json["checks"]["broker"]["ok"] == reached


def test_a_database_that_is_older_than_this_release_is_not_ready(database, monkeypatch):
    monkeypatch.setattr(health, "_versions", lambda: frozenset({"29991231235959"}))

    answer = ready()

    assert answer.status_code == 503
    assert answer.json["checks"]["postgres"]["ok"]
    assert answer.json["checks"]["migrations"]["detail"] == "1 missing, the first is 29991231235959"
