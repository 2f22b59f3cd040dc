"""Services in tests: as jobs call them, over the local and the HTTP implementation.

A conformance suite names its counterpart, `COUNTERPART = "locker"`, uses the fixture `implementation` in each test, and
calls the service within `with as_job(brand_id=…):`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from uuid import UUID

import pytest
import redis
from psycopg2.extensions import connection

from jobs.engine.ledger import Ledger
from jobs.engine.worker.current import CurrentJob, running
from models.core import context
from models.core.context import Identity
from models.core.database import transaction
from models.jobs.ledger import enqueue
from models.passport import services
from models.passport.health import HealthStore, Rules
from scripts.devstack.environment import ROOT
from tests.fixtures.jobs import take
from tests.support.counterparts import Counterpart

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
