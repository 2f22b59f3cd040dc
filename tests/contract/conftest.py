"""The application, and somebody in every role, for all tests of a module."""

import logging
from collections.abc import Callable, Iterator

import pytest
from psycopg2.extensions import connection

from models.audit import chain, checkpoints
from tests.contract.traces import Traces
from tests.contract.wire import Wire
from tests.contract.world import World, build
from tests.fixtures.web import Client


@pytest.fixture(scope="module")
def world(superuser: connection, clean: Callable[[], None]) -> World:
    """Who and what is there: nothing of others, which would be looked at after each request."""
    clean()
    return build(superuser)


@pytest.fixture(scope="module", autouse=True)
def nobody_seals() -> Iterator[None]:
    """Entries of the audit trail wait for their seals as long as the tests take, and that is no reason for alarm."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (chain, checkpoints):
            patch.setattr(module, "OVERDUE", float("inf"))
        yield


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
