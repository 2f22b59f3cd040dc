"""Test groups of any shape under concurrency: mixed outcomes, and killed workers."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine import actor, current_job
from jobs.engine.ledger import Claim, Ledger
from jobs.engine.relay.relay import Relay
from jobs.engine.transports import connect
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import close_thread_connections, execute, transaction, value
from models.core.errors import NotFound
from models.jobs import groups
from models.jobs.groups import Batch, Call, Chain
from settings import settings as app_settings
from tests.fixtures.jobs import Drain, take
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors", "db_clean")

Tree = tuple[str, list[Any]]  # ("batch" | "chain", children); a leaf is the outcome of a job


# Any shape

LEAVES = st.sampled_from(["done", "done", "dead"])
CHAINS = st.tuples(st.just("chain"), st.lists(LEAVES, max_size=4))
TREES = st.recursive(
    st.tuples(st.just("batch"), st.lists(LEAVES | st.just("cancelled"), max_size=4)) | CHAINS,
    lambda inner: st.tuples(st.just("batch"), st.lists(inner | LEAVES, max_size=4)),
    max_leaves=8,
)


class Expected:
    """The expected callbacks of a tree of groups, computed without a ledger."""

    def __init__(self) -> None:
        self.reports: dict[str, tuple[int, int, int, int]] = {}
        self.hopeless: set[str] = set()
        self.failed: set[str] = set()

    def group(self, tree: Tree, name: str) -> str:
        kind, children = tree
        ends = [c if isinstance(c, str) else self.group(c, f"{name}.{n}") for n, c in enumerate(children)]
        if kind == "chain" and "dead" in ends:
            ends = [*ends[: ends.index("dead") + 1], *["held"] * (len(ends) - ends.index("dead") - 1)]
        counts = Counter(ends)
        self.reports[name] = (len(ends), counts["done"], counts["dead"], counts["cancelled"])
        if counts["cancelled"] or any(f"{name}.{n}" in self.hopeless for n in range(len(children))):
            self.hopeless.add(name)  # after any number of replays
        if counts["dead"] or counts["cancelled"]:
            self.failed.add(name)
        return "dead" if counts["dead"] else "cancelled" if counts["cancelled"] else "done"


def build(tree: Tree, name: str) -> Batch | Chain:
    kind, children = tree
    calls = [
        build(child, f"{name}.{n}") if isinstance(child, tuple) else Call(f"tree.{child}", f"{name}.{n}")
        for n, child in enumerate(children)
    ]
    return (Chain if kind == "chain" else Batch)(
        calls,  # type: ignore[arg-type]
        then=Call("tree.report", name),
        on_success=Call("tree.success", name),
    )


@pytest.fixture
def outputs() -> tuple[list[Any], list[str]]:
    """Return the callbacks of groups: reports and successes."""
    reports: list[Any] = []
    successes: list[str] = []

    @actor("tree.done", runs_as="system")
    def done(name: str) -> None:
        assert name

    @actor("tree.dead", runs_as="system")
    def dead(name: str) -> None:
        raise NotFound(name)

    @actor("tree.report", runs_as="system")
    def report(name: str) -> None:
        found = groups.children(current_job().id)
        assert found is not None
        reports.append((name, (found.total, found.done, found.dead, found.cancelled)))

    @actor("tree.success", runs_as="system")
    def success(name: str) -> None:
        successes.append(name)

    return reports, successes


@settings(max_examples=15)
@given(TREES)
def test_groups_of_any_shape_call_back_exactly_once(
    drain: Drain, query: Query, outputs: tuple[list[Any], list[str]], tree: Tree
) -> None:
    query("truncate app.jobs, app.job_groups, app.job_history, app.dead_jobs")
    reports, successes = outputs
    reports.clear()
    successes.clear()
    expected = Expected()
    expected.group(tree, "top")
    with transaction(context.for_system_job()):
        plan = groups._Plan()
        plan.group(build(tree, "top"), None)
        plan.write(within=False)
    query("select app.cancel_job(id) from app.jobs where actor = 'tree.cancelled'")

    drain(allow_dead=True)

    assert Counter(name for name, _ in reports) == dict.fromkeys(expected.reports, 1)
    assert dict(reports) == expected.reports
    assert sorted(successes) == sorted(expected.reports.keys() - expected.failed)

    while query("update app.dead_jobs set actor = 'tree.done' where actor = 'tree.dead' returning id"):
        query("select app.revive_job(d, null, now()) from app.dead_jobs d")
        drain(allow_dead=True)

    assert len(reports) == len(expected.reports)
    assert sorted(successes) == sorted(expected.reports.keys() - expected.hopeless)
    assert query("select count(*) from app.jobs") == [(0,)]
    assert query("select count(*) from app.job_groups where state <> 'finished'") == [(0,)]


# Concurrency

CHILDREN = 3_000
WORKERS = 8
RELAYS = 2
KILLED = 0.006
"""Share of jobs whose worker is killed."""


class Killed(BaseException):
    """The worker is killed during a body: its transaction is rolled back and no end is reported."""


class KilledWorkers:
    """Workers that end at random, and relays that reclaim their jobs and close groups."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.is_over = threading.Event()
        self.dead: list[int] = []
        self.killed = 0
        self.errors: list[BaseException] = []
        self._next_id = 1000
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run until `is_over` is set. Raise the first error of a thread."""
        bodies = [self._work] * WORKERS + [self._relay] * RELAYS
        threads = [threading.Thread(target=self._guarded, args=[body]) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _guarded(self, body: Callable[[Ledger], None]) -> None:
        ledger = Ledger()
        try:
            body(ledger)
        except BaseException as error:
            self.errors.append(error)
            self.is_over.set()
        finally:
            ledger.close()
            close_thread_connections()

    def _work(self, ledger: Ledger) -> None:
        while not self.is_over.is_set():
            worker_id = self._start_worker()
            try:
                while not self.is_over.is_set():
                    self._run_some(ledger, Runner(ledger, worker_id), worker_id)
            except Killed:
                with self._lock:
                    self.dead.append(worker_id)
                    self.killed += 1

    def _start_worker(self) -> int:
        with self._lock:
            self._next_id += 1
            return self._next_id

    def _run_some(self, ledger: Ledger, runner: Runner, worker_id: int) -> None:
        ids = take(ledger, *self.names)
        claims = ledger.claim(ids, worker_id)
        for claim in claims:
            runner.run(claim)
            if random.random() < KILLED:
                raise Killed  # between two jobs, with the rest of its claims
        for id in set(ids) - {claim.id for claim in claims}:
            quarantined: list[Claim] = ledger.claim([id], worker_id)
            if quarantined:
                runner.run(quarantined[0])
        if not ids:
            self.is_over.wait(0.005)

    def _relay(self, ledger: Ledger) -> None:
        while not self.is_over.wait(0.005):
            ledger.close_groups()
            ledger.sweep_unclaimed(0.5, [])
            with self._lock:
                gone = list(self.dead)
            if gone:
                ledger.sweep_missing(0, 10**6, gone)


EFFECT = "INSERT INTO app.schedule_occurrences (schedule, due_at, job_id) VALUES (%s, clock_timestamp(), %s)"


def test_killed_workers_do_not_repeat_a_callback(query: Query) -> None:
    query("grant insert on app.schedule_occurrences to app_system")
    query("drop policy if exists test_insert on app.schedule_occurrences")
    query("create policy test_insert on app.schedule_occurrences for insert to app_system with check (true)")
    workers = KilledWorkers(["test.child", "test.over", "test.all_over"])
    seen: list[int] = []

    @actor("test.child", runs_as="system", max_attempts=10**6)
    def child(number: int) -> None:
        execute(EFFECT, (f"child {number}", current_job().id))
        if number < CHILDREN and number % 100 == 0:
            groups.add([Call("test.child", CHILDREN + number + 1)])
        if random.random() < KILLED:
            raise Killed

    @actor("test.over", runs_as="system", max_attempts=10**6)
    def over(number: int) -> None:
        execute(EFFECT, (f"over {number}", current_job().id))

    @actor("test.all_over", runs_as="system", max_attempts=10**6)
    def all_over() -> None:
        seen.append(value("SELECT count(DISTINCT schedule) FROM app.schedule_occurrences"))
        execute(EFFECT, ("all over", current_job().id))
        workers.is_over.set()

    share = CHILDREN // 10
    with transaction(context.for_system_job()):
        nested: list[Call | Batch | Chain] = [
            Batch([Call("test.child", n) for n in range(part, CHILDREN, 10)], then=Call("test.over", part))
            for part in range(9)
        ]
        own = [Call("test.child", n) for n in range(9, CHILDREN, 10)]
        top = groups.batch([*nested, *own, Batch([])], then=Call("test.all_over"))

    workers.run()

    assert workers.killed > 10
    expected = CHILDREN + CHILDREN // 100 + 9  # including the added ones and the callbacks of nested batches
    assert seen == [expected]
    assert query("select schedule, count(*) from app.schedule_occurrences group by 1 having count(*) > 1") == []
    assert query("select count(*) from app.schedule_occurrences") == [(expected + 1,)]
    assert query("select count(*) from app.jobs where actor <> 'test.all_over'") == [(0,)]
    with transaction(context.for_system_job()):
        assert top.then_id is not None
        found = groups.children(top.then_id)
    assert found is not None
    assert (found.total, found.done, found.dead) == (share + 10, share + 10, 0)


# Latency


def test_relay_publishes_a_callback_in_the_same_round(ledger: Ledger, query: Query, redis_url: str) -> None:
    actor("soon.child", runs_as="system", queue="soon")(lambda: None)
    actor("soon.over", runs_as="system", queue="soon")(lambda: None)
    with transaction(context.for_system_job()):
        group = groups.batch([Call("soon.child")], then=Call("soon.over"))
    Runner(ledger, 1).run(ledger.claim(take(ledger, "soon.child"), 1)[0])
    transport = connect(app_settings.transport_url)
    transport.pop("soon", 100, 0.01)

    Relay(Ledger(), transport).step()

    assert transport.pop("soon", 100, 0.01) == [group.then_id]
    transport.close()
