"""Fixtures of the contract tests: seeded callers and records, a raw client, a detector of database writes."""

import logging
from collections.abc import Callable, Iterator

import pytest
from psycopg2.extensions import connection

from models.audit import chain, checkpoints
from tests.contract.raw_client import RawClient
from tests.contract.seed import Seed, build
from tests.contract.writes import Writes
from tests.fixtures.web import Client


@pytest.fixture(scope="module")
def seed(superuser: connection, clean: Callable[[], None]) -> Seed:
    """Seed an empty database with callers of every role and their records."""
    clean()
    return build(superuser)


@pytest.fixture(scope="module", autouse=True)
def no_overdue_seals() -> Iterator[None]:
    """Disable the alarm for unsealed audit entries: no seal process runs during these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (chain, checkpoints):
            patch.setattr(module, "OVERDUE", float("inf"))
        yield


@pytest.fixture(scope="module")
def raw_client(_client: Client) -> Iterator[RawClient]:
    """Send requests to the real application."""
    return RawClient(_client)


@pytest.fixture(scope="module")
def writes(superuser: connection, seed: Seed) -> Writes:
    """Detect database writes."""
    return Writes(superuser)


@pytest.fixture(autouse=True)
def no_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if a request is logged as an error: a client's request is never a server error."""
    caplog.set_level(logging.WARNING)
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []
