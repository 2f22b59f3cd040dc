"""The application, and somebody in every role, for all tests of a module."""

import logging
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from psycopg2.extensions import connection

from models import passwords
from tests.fixtures.web import Client
from tests.hostile.traces import Traces
from tests.hostile.wire import Wire
from tests.hostile.world import World, build


@pytest.fixture(scope="module")
def quick_hashes() -> Iterator[None]:
    """Passwords cost nothing here: there are hundreds of them, and nobody guesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="module")
def world(superuser: connection, quick_hashes: None) -> World:
    """Who and what is there."""
    return build(superuser)


@pytest.fixture(scope="module")
def wire(_client: Client) -> Iterator[Wire]:
    """Sends requests to the real application."""
    return Wire(_client)


@pytest.fixture(scope="module")
def traces(superuser: connection, world: World) -> Traces:
    """Whether anything has been written."""
    return Traces(superuser)


@pytest.fixture(autouse=True)
def our_fault(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client sends is the client's fault: nothing is logged as an error of ours."""
    caplog.set_level(logging.WARNING)
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []
