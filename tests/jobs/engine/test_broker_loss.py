"""What a broker loses, the ledger knows: no job is lost, and none is done twice."""

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
from models.jobs import ledger as jobs
from scripts.devstack import processes
from scripts.devstack.environment import ROOT
from tests.support.brokers import Broker, until

pytestmark = pytest.mark.xdist_group("brokers")

ACTOR = "crew.effect"
BEFORE, MEANWHILE, AFTER = range(150), range(150, 300), range(300, 400)

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(db_clean: str, superuser: connection) -> Iterator[Query]:
    """Asks the database, in which there is a table of effects."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with superuser.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    ask("drop schema if exists crew cascade; create schema crew; create table crew.effects (n int)")
    ask("grant usage on schema crew to app_system; grant insert on crew.effects to app_system")
    yield ask
    ask("drop schema crew cascade")


@pytest.fixture
def crew(broker: Broker, query: Query, tmp_path: Path) -> Iterator[None]:
    """A relay and a worker of two processes on this broker."""
    commands = [
        [sys.executable, "-m", "tests.jobs.engine.crew"],
        [
            sys.executable,
            "-m",
            "dramatiq",
            "tests.jobs.engine.crew",
            "--processes",
            "2",
            "--threads",
            "2",
            "--skip-logging",
        ],
    ]
    env = os.environ | {"BROKER_URL": broker.url, "LOG_LEVEL": "INFO", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "crew.log"
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
            jobs.enqueue(ACTOR, n)
        paced.wait(pause)


def enqueue_and_leave(numbers: range, pause: float) -> None:
    enqueue(numbers, pause)
    close_thread_connections()


@pytest.mark.usefixtures("crew")
def test_a_broker_that_is_killed_costs_no_job_and_repeats_none(broker: Broker, query: Query) -> None:
    enqueue(BEFORE)
    until(lambda: query("select n from crew.effects"))
    others = threading.Thread(target=enqueue_and_leave, args=(MEANWHILE, 0.01))
    others.start()

    broker.kill()
    broker.recover()
    others.join()
    enqueue(AFTER)

    until(lambda: query("select count(*) from app.jobs") == [(0,)])
    effects = sorted(n for (n,) in query("select n from crew.effects"))
    assert effects == [*BEFORE, *MEANWHILE, *AFTER]


@pytest.mark.usefixtures("crew")
def test_a_broker_that_forgets_everything_costs_no_job_and_repeats_none(broker: Broker, query: Query) -> None:
    others = threading.Thread(target=enqueue_and_leave, args=(MEANWHILE, 0.01))
    others.start()
    until(lambda: query("select n from crew.effects"))

    while others.is_alive():
        broker.forget()
        others.join(0.2)

    until(lambda: query("select count(*) from app.jobs") == [(0,)])
    assert sorted(n for (n,) in query("select n from crew.effects")) == list(MEANWHILE)


@pytest.mark.usefixtures("temporary_actors")
def test_an_id_that_was_taken_and_not_claimed_is_published_again_while_others_lie_in_its_queue(
    broker: Broker, ledger: Ledger, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.forget()
    monkeypatch.setattr(relay, "SWEEP_EVERY", 0.0)
    actor("crew.idle", runs_as="system")(lambda: None)
    with transaction(context.for_system_job()):
        first, *others = [jobs.enqueue("crew.idle").id for _ in range(3)]
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
def test_ids_lost_with_an_error_are_published_again_without_a_sweep(
    broker: Broker, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.forget()
    monkeypatch.setattr(relay, "SWEEP_EVERY", float("inf"))
    actor("crew.idle", runs_as="system")(lambda: None)
    with transaction(context.for_system_job()):
        id = jobs.enqueue("crew.idle").id
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
    """A transport whose first push fails, and whose ids don't arrive."""

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
def test_as_many_of_the_newest_are_present_as_a_queue_has_and_who_is_as_new_as_they(depth: int, present: int) -> None:
    now = datetime.now(UTC)
    published = [(uuid4(), now - timedelta(seconds=age)) for age in (0, 1, 1, 2)]

    assert newest_of(published, depth) == [id for id, _ in published[:present]]
