"""A worker of the Procfile is killed while a service acts for it: the relay hands its job to the next worker."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from scripts.devstack import processes
from scripts.devstack.environment import ROOT, VENV
from tests.fixtures.queries import Query
from tests.jobs.passport.callers import CALLERS
from tests.jobs.passport.conftest import Outside
from tests.support.brokers import until

pytestmark = pytest.mark.xdist_group("services")

RELAY = [sys.executable, "-m", "jobs.engine.relay"]
QUEUES = ("default", "outward", "webhooks", "scans")
WORKER = [str(VENV / "bin" / "dramatiq"), "jobs.main", "--processes", "1", "--threads", "2", "--queues", *QUEUES]
LEFT = "select count(*) from app.jobs where due_at < now() + interval '1 hour' and actor not like 'mail.%%'"
"""Jobs that must end. No server takes their mails here."""
OPERATIONS = [("locker", "grant"), ("locker", "claim"), ("concierto", "check_in"), ("coliseum", "ingest")]


class Workers:
    """A relay, and workers that follow each other, over the database of the test."""

    def __init__(self, home: Path, query: Query) -> None:
        self.environment: dict[str, str] = {}
        self._log = (home / "log").open("ab")
        self._query = query
        self._started: list[Popen[bytes]] = []

    def start(self, command: list[str]) -> Popen[bytes]:
        """Start a process."""
        environment = {**os.environ, **self.environment}
        self._started.append(processes.spawn(command, env=environment, cwd=ROOT, output=self._log))
        return self._started[-1]

    def end(self) -> None:
        """Kill all processes that were started."""
        for process in self._started:
            _kill(process)
        self._log.close()

    def are_idle(self) -> bool:
        """Return whether no due job is left."""
        return self._query(LEFT) == [(0,)]


def _kill(process: "Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def workers(tmp_path: Path, query: Query) -> Iterator[Workers]:
    """Return processes that run jobs. None runs at first."""
    started = Workers(tmp_path, query)
    yield started
    started.end()
    print((tmp_path / "log").read_text()[-4000:])


@pytest.mark.slow
@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_job_of_a_killed_worker_is_ended_by_the_next_with_one_effect(
    outside: Outside, world: Any, workers: Workers, service: str, operation: str
) -> None:
    server = outside.use(service)
    caller = CALLERS[service, operation](world)
    next(caller)
    before = server.counts()
    server.fail("hang", operation=operation)
    workers.environment = {
        f"PASSPORT_{service.upper()}_URL": server.route.url,
        f"PASSPORT_{service.upper()}_KEY": server.route.key,
    }
    workers.start(RELAY)
    current = [workers.start(WORKER)]

    def made(kind: str) -> int:
        return server.counts()[kind].get(operation, 0) - before[kind].get(operation, 0)

    def run() -> list[str]:
        until(lambda: made("calls") or workers.are_idle())
        if made("calls"):
            _kill(current.pop())
            until(lambda: made("effects"))
            current.append(workers.start(WORKER))
            until(workers.are_idle)
        return []

    world.run = run
    assert next(caller, "done") == "done"

    assert (made("calls"), made("effects")) == (2, 1)
