"""Test that the ledger recovers ids that a broker loses: no job is lost, and none runs twice."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection

from jobs.engine import actor
from jobs.engine.ledger import Ledger
from jobs.engine.relay import relay
from jobs.engine.relay.relay import Relay, newest_of
from jobs.engine.transports import connect
from jobs.engine.transports.base import Transport, TransportError
from models.core import context
from models.core.database import close_thread_connections, transaction
from models.jobs.ledger import enqueue as enqueue_job
from scripts.devstack import processes
from scripts.devstack.environment import ROOT
from tests.support.brokers import Broker, until

pytestmark = pytest.mark.xdist_group("brokers")

ACTOR = "test.effect"
BEFORE, MEANWHILE, AFTER = range(150), range(150, 300), range(300, 400)

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(db_clean: str, superuser: connection) -> Iterator[Query]:
    """Return a query function, and create a table of effects."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with superuser.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    ask(
        "drop schema if exists test_actors cascade; create schema test_actors; create table test_actors.effects (n int)"
    )
    ask("grant usage on schema test_actors to app_system; grant insert on test_actors.effects to app_system")
    yield ask
    ask("drop schema test_actors cascade")


@pytest.fixture
def relay_and_worker(broker: Broker, query: Query, tmp_path: Path) -> Iterator[None]:
    """Start a relay and a worker with two processes on this broker."""
    commands = [
        [sys.executable, "-m", "tests.jobs.engine.effect_actors"],
        [
            sys.executable,
            "-m",
            "dramatiq",
            "tests.jobs.engine.effect_actors",
            "--processes",
            "2",
            "--threads",
            "2",
            "--skip-logging",
        ],
    ]
    env = os.environ | {"BROKER_URL": broker.url, "LOG_LEVEL": "INFO", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "processes.log"
    with log.open("ab") as output:
        running = [processes.spawn(command, env=env, cwd=ROOT, output=output) for command in commands]
    yield
    for process in running:
        end(process)
    print(log.read_text()[-5000:])


def end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def enqueue(numbers: range, pause: float = 0.0) -> None:
    paced = threading.Event()
    for n in numbers:
        with transaction(context.for_system_job()):
            enqueue_job(ACTOR, n)
        paced.wait(pause)


def enqueue_and_leave(numbers: range, pause: float) -> None:
    enqueue(numbers, pause)
    close_thread_connections()


@pytest.mark.usefixtures("relay_and_worker")
def test_killed_broker_loses_and_repeats_no_job(broker: Broker, query: Query) -> None:
    enqueue(BEFORE)
    until(lambda: query("select n from test_actors.effects"))
    others = threading.Thread(target=enqueue_and_leave, args=(MEANWHILE, 0.01))
    others.start()

    broker.kill()
    broker.recover()
    others.join()
    enqueue(AFTER)

    until(lambda: query("select count(*) from app.jobs") == [(0,)])
    effects = sorted(n for (n,) in query("select n from test_actors.effects"))
    assert effects == [*BEFORE, *MEANWHILE, *AFTER]


@pytest.mark.usefixtures("relay_and_worker")
def test_emptied_broker_loses_and_repeats_no_job(broker: Broker, query: Query) -> None:
    others = threading.Thread(target=enqueue_and_leave, args=(MEANWHILE, 0.01))
    others.start()
    until(lambda: query("select n from test_actors.effects"))

    while others.is_alive():
        broker.forget()
        others.join(0.2)

    until(lambda: query("select count(*) from app.jobs") == [(0,)])
    assert sorted(n for (n,) in query("select n from test_actors.effects")) == list(MEANWHILE)


@pytest.mark.usefixtures("temporary_actors")
def test_popped_unclaimed_id_is_published_again(
    broker: Broker, ledger: Ledger, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.forget()
    monkeypatch.setattr(relay, "SWEEP_EVERY", 0.0)
    actor("test.idle", runs_as="system")(lambda: None)
    with transaction(context.for_system_job()):
        first, *others = [enqueue_job("test.idle").id for _ in range(3)]
    transport = connect(broker.url)
    rounds = Relay(ledger, transport)
    rounds.step()
    query(
        "update app.jobs j set published_at = now() - interval '1 minute' * (4 - n)"
        " from (select id, row_number() over (order by id) as n from app.jobs) as o where o.id = j.id"
    )

    lost = transport.pop("default", 1, 1)
    rounds.step()

    assert lost == [first]
    assert query("select id from app.jobs where state = 'waiting'") == [(first,)]
    assert sorted(query("select id from app.jobs where state = 'published'")) == [(id,) for id in sorted(others)]
    transport.close()


@pytest.mark.usefixtures("temporary_actors")
def test_ids_lost_with_an_error_are_soon_published_again(
    broker: Broker, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.forget()
    monkeypatch.setattr(relay, "SWEEP_EVERY", float("inf"))
    actor("test.idle", runs_as="system")(lambda: None)
    with transaction(context.for_system_job()):
        id = enqueue_job("test.idle").id
    losing = LosesFirstPush(connect(broker.url))
    stopping = threading.Event()
    rounds = threading.Thread(target=Relay(Ledger(), losing).run, args=[stopping])
    rounds.start()

    try:
        reader = connect(broker.url)
        until(lambda: id in reader.pop("default", 1, 0.1))
    finally:
        stopping.set()
        rounds.join()
        losing.close()
        reader.close()

    assert losing.lost == [id]


class LosesFirstPush:
    """A transport whose first push fails and loses its ids."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.lost: list[UUID] = []

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        if self.lost:
            self._transport.push(queue, ids)
            return
        self.lost += ids
        raise TransportError("the connection was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize(("depth", "present"), [(0, 0), (1, 1), (2, 3), (3, 3), (4, 4), (9, 4)])
def test_newest_of_returns_queue_length_and_ties(depth: int, present: int) -> None:
    now = datetime.now(UTC)
    published = [(uuid4(), now - timedelta(seconds=age)) for age in (0, 1, 1, 2)]

    assert newest_of(published, depth) == [id for id, _ in published[:present]]
