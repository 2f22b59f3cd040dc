"""Test that slow calls of other systems delay neither scans nor ordinary jobs, with workers of the Procfile's lines."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.engine.ledger import Ledger
from jobs.engine.transports import connect
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue
from scripts.devstack import processes, procfile
from scripts.devstack.environment import ROOT
from settings import settings
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query
from tests.support.brokers import until

QUEUES = {"class.vendor": "outward", "class.scan": "scans", "class.ordinary": "default"}
FLOOD = 100


@pytest.fixture
def workers(tmp_path: Path, db_clean: str) -> Iterator[None]:
    """Start the workers of all lines of the Procfile, with the actors of this test."""
    lines = {name: line for name, line in procfile.read(ROOT / "Procfile").items() if name.startswith("worker")}
    started = []
    for name, line in lines.items():
        command = procfile.argv(line.replace("jobs.main", "tests.jobs.engine.latency_actors"))
        with (tmp_path / name).open("wb") as output:
            started.append(processes.spawn(command, env={**os.environ, "WORKER_DRAIN": "1"}, cwd=ROOT, output=output))
    yield
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(*((tmp_path / name).read_text()[-2000:] for name in lines))


@pytest.mark.slow
@pytest.mark.usefixtures("workers")
def test_flood_of_slow_calls_delays_neither_scans_nor_ordinary_jobs(ledger: Ledger, query: Query) -> None:
    transport = connect(settings.transport_url)

    def publish(name: str, count: int) -> None:
        with transaction(context.for_system_job()):
            for _ in range(count):
                enqueue(name)
        transport.push(QUEUES[name], take(ledger, name, most=count))

    def ended(name: str) -> int:
        return int(query("select count(*) from app.job_history where actor = %s and state = 'done'", name)[0][0])

    publish("class.vendor", FLOOD)
    until(lambda: query("select count(*) > 0 from app.jobs where state = 'running'") == [(True,)])
    for name in ("class.scan", "class.ordinary"):
        publish(name, 20)
    until(lambda: ended("class.scan") == ended("class.ordinary") == 20)
    meanwhile = ended("class.vendor")
    query("insert into app.job_keys (key, job_id) values ('vendor.answers', gen_random_uuid())")
    until(lambda: ended("class.vendor") == FLOOD)
    transport.close()

    assert meanwhile == 0
