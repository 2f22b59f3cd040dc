"""Services in tests: as jobs call them, over the local and the HTTP implementation.

A conformance suite names its counterpart, `COUNTERPART = "locker"`, uses the fixture `implementation` in each test, and
calls the service within `with as_job(brand_id=…):`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
import redis
from psycopg2.extensions import connection

from jobs.engine.ledger import Ledger
from jobs.engine.worker.current import CurrentJob, running
from jobs.passport.contract import Operation
from jobs.passport.http_transport import HttpTransport
from models.core import context
from models.core.context import Identity
from models.core.database import transaction
from models.jobs.ledger import enqueue
from models.passport import services
from models.passport.health import HealthStore, Rules
from scripts.devstack import sockets
from scripts.devstack.environment import ROOT
from tests.fixtures.jobs import take
from tests.support.counterparts import KEY, Counterpart

pytest.register_assert_rewrite("tests.jobs.passport.callers")

AsJob = Callable[..., AbstractContextManager[CurrentJob]]


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the services' health."""
    return Clock()


@pytest.fixture(autouse=True)
def health(monkeypatch: pytest.MonkeyPatch, redis_url: str, clock: Clock) -> HealthStore:
    """Replace the health of all services by an empty one with the clock of the test."""
    client = redis.Redis.from_url(redis_url)
    for key in client.keys("passport:health:*"):
        client.delete(key)
    client.close()
    store = HealthStore(redis_url, Rules(), clock)
    monkeypatch.setattr(services, "health", store)
    return store


class Outside:
    """Services over HTTP while they fail."""

    def __init__(self, started: dict[str, Counterpart]) -> None:
        self._started = started
        self._used: dict[str, Counterpart] = {}
        self._short: dict[str, int] = {}
        self._down: dict[str, int] = {}
        self._nowhere = HttpTransport(f"http://127.0.0.1:{sockets.free_port()}", KEY)

    def use(self, name: str) -> Counterpart:
        """Route a service to its empty counterpart, which is started unless it runs."""
        if name not in self._started:
            self._started[name] = Counterpart(name, ROOT / "docs" / "services" / f"{name}.openapi.json")
        self._started[name].reset()
        self._used[name] = self._started[name]
        return self._started[name]

    def route(self, name: str) -> services.Route | None:
        """Return the route to a service that is used."""
        return self._used[name].route if name in self._used else None

    def fail(self, service: str, operation: str, fault: str, times: int = 1) -> None:
        """Let the next calls of an operation meet a fault of `FAULTS`."""
        if fault == "down":
            self._down[operation] = times
            return
        if fault == "hang":
            self._short[operation] = times
        self._used[service].fail(operation=operation, times=times, **FAULTS[fault])

    def send(self, sender: HttpTransport, operation: Operation, request: msgspec.Struct, *, key: str) -> msgspec.Struct:
        """Send a call as `HttpTransport.send`: to nowhere while the service is down, and for `PATIENCE` if it hangs."""
        if _counted_down(self._down, operation.name):
            sender = self._nowhere
        if _counted_down(self._short, operation.name):
            operation = replace(operation, timeout=PATIENCE)
        return _send(sender, operation, request, key=key)


_send = HttpTransport.send
PATIENCE = 0.25
"""Seconds after which a call of a service that hangs is given up."""
FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"kind": "hang"},
    "down": {},
    "500": {"kind": "status", "status": 500},
    "429": {"kind": "status", "status": 429, "retry_after": "2"},
    "garbage": {"kind": "garbage"},
    "wrong_schema": {"kind": "wrong_schema"},
    "drop_before": {"kind": "drop_before"},
    "drop_after": {"kind": "drop_after"},
}
"""Faults of a service: slow, refused connection, error, throttled, unreadable answers, and broken connections."""
CAUSES = {
    "hang": "timeout",
    "down": "connection",
    "500": "status",
    "429": "throttled",
    "garbage": "bad_answer",
    "wrong_schema": "bad_answer",
    "drop_before": "bad_answer",
    "drop_after": "bad_answer",
}
"""The recorded cause of a failed call, by its fault."""


def _counted_down(left: dict[str, int], name: str) -> bool:
    left[name] = left.get(name, 0) - 1
    return left[name] >= 0


@pytest.fixture(scope="session")
def _started() -> Iterator[dict[str, Counterpart]]:
    started: dict[str, Counterpart] = {}
    yield started
    for one in started.values():
        one.stop()


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, _started: dict[str, Counterpart]) -> Outside:
    """Return services over HTTP that can fail. None is used before `outside.use(name)`.

    Modules that use it are of one group of pytest-xdist, `services`, so that their servers start once.
    """
    outside = Outside(_started)
    monkeypatch.setattr(services, "route", outside.route)
    monkeypatch.setattr(HttpTransport, "send", lambda *args, key: outside.send(*args, key=key))
    return outside


@pytest.fixture(scope="module")
def counterpart(request: pytest.FixtureRequest) -> Iterator[Counterpart]:
    """Start the HTTP counterpart that the module names."""
    name = request.module.COUNTERPART
    document = getattr(request.module, "DOCUMENT", ROOT / "docs" / "services" / f"{name}.openapi.json")
    started = Counterpart(name, document)
    yield started
    started.stop()


@pytest.fixture
def over_http(monkeypatch: pytest.MonkeyPatch, counterpart: Counterpart) -> Counterpart:
    """Route the service to its empty counterpart."""
    counterpart.reset()
    monkeypatch.setattr(services, "route", {counterpart.name: counterpart.route}.get)
    return counterpart


@pytest.fixture(params=["local", "http"])
def implementation(request: pytest.FixtureRequest) -> str:
    """Use the local implementation of the service, or its HTTP counterpart."""
    if request.param == "http":
        request.getfixturevalue("over_http")
    return str(request.param)


@pytest.fixture
def as_job(ledger: Ledger, superuser: connection) -> AsJob:
    """Return a context in which services can be called: a running job of a brand, a fan or the system."""

    @contextmanager
    def run(*, brand_id: UUID | None = None, user_id: UUID | None = None, attempt: int = 1) -> Iterator[CurrentJob]:
        with transaction(context.for_system_job()):
            enqueue("test.call", brand_id=brand_id, user_id=user_id)
        (id,) = take(ledger, "test.call")
        (claim,) = ledger.claim([id], 1)
        job = CurrentJob(replace(claim, attempts=attempt), _identity(id, brand_id, user_id), 30.0, ledger)
        with running(job), context.acting_as(job.identity):
            yield job
        with superuser.cursor() as cursor:
            cursor.execute("delete from app.jobs where id = %s", (id,))

    return run


def _identity(job_id: UUID, brand_id: UUID | None, user_id: UUID | None) -> Identity:
    if brand_id is not None:
        return context.for_brand_job(brand_id, job_id)
    return context.for_fan_job(user_id, job_id) if user_id is not None else context.for_system_job(job_id)


@pytest.fixture
def world(campaign: Any, manager: Any, drop: Any, fan: Any, query: Any, drain: Any) -> Any:
    """Return the fixtures that callers of services use."""
    from tests.jobs.passport.callers import World  # not above: its assertions are rewritten

    return World(campaign, manager, drop, fan, query, drain)
