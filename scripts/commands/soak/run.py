"""One run: enqueue jobs under faults, wait until all have finished, and count effects."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg2

from scripts.commands.bench.servers import python, temporary
from scripts.commands.soak.faults import FAULTS, Fault
from scripts.commands.soak.testbed import RELAYS, WORKERS, FaultTestbed

POLL_SECONDS = 0.05
"""Seconds between two polls for ended processes and due faults."""
DRAIN_SECONDS = 120.0
"""Seconds after the last enqueued job and the last fault within which all jobs have to finish."""
STUCK_FACTOR = 5
"""Multiple of the planned duration after which the producer counts as stuck."""

RESULTS = """
    select count(*) filter (where e.key is null),
        coalesce(sum(e.times - 1), 0)::int,
        count(*) filter (where i.key is null)
    from (select key from chaos.intents where kind <> 'outward') i
    full join (select key, count(*) as times from chaos.effects group by key) e on e.key = i.key
"""
VENDOR_KEYS = "select key from chaos.intents where kind = 'outward'"
SNAPSHOT = """
    with fault as (insert into chaos.faults (n, kind) values (%s, %s))
    insert into chaos.held select %s, id from app.job_status where state = 'running'
"""
RECOVERY = """
    select percentile_cont(0.95) within group (order by recovered) from (
        select extract(epoch from max(s.finished_at) - f.at)::float8 as recovered
        from chaos.faults f join chaos.held h on h.n = f.n join app.job_status s on s.id = h.job_id
        group by f.n, f.at) as each
"""
SLOWEST = """
    select f.kind, s.actor, s.attempts, s.crashes, round(extract(epoch from s.finished_at - f.at), 1)::float8,
        s.id::text
    from chaos.faults f join chaos.held h on h.n = f.n join app.job_status s on s.id = h.job_id
    order by s.finished_at - f.at desc nulls first limit 5
"""
LEFT = "select count(*) from app.jobs"


@dataclass(frozen=True)
class Plan:
    """Load, duration and random choices of a run.

    Jobs are enqueued and `faults` faults injected within `seconds`; more faults if enqueueing takes longer.
    """

    jobs: int
    seconds: float
    faults: int
    seed: int
    kinds: Sequence[Fault] = FAULTS


@dataclass
class Report:
    """Result of a run. The first five are 0 in a clean run."""

    lost: int = 0
    duplicate: int = 0
    ghost: int = 0
    dead: int = 0
    left: int = 0
    jobs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    recovery_p95_s: float = 0.0
    seconds: float = 0.0
    vendor_calls: int = 0
    vendor_acts: int = 0
    seed: int = 0
    slowest: list[list[object]] = field(default_factory=list)
    details: str = ""

    @property
    def is_clean(self) -> bool:
        """True if no effect was lost, happened twice, or happened without an intent."""
        return not (self.lost or self.duplicate or self.ghost or self.dead or self.left)

    def numbers(self) -> dict[str, object]:
        """Return all fields except the details."""
        return {name: value for name, value in asdict(self).items() if name != "details"}


@contextmanager
def running_testbed(seed: int) -> Iterator[FaultTestbed]:
    """Yield a running testbed in a temporary directory on a disk."""
    with temporary("companon-chaos-") as base:
        testbed = FaultTestbed(Path(base), seed)
        try:
            testbed.start()
            yield testbed
        finally:
            testbed.stop()


class FaultRunner:
    """Injects faults at their times, in the caller's thread: child processes end with the thread that started them."""

    def __init__(self, testbed: FaultTestbed, plan: Plan) -> None:
        self._testbed, self._plan = testbed, plan
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._faults = Counter[str]()
        self._injected = 0
        self._producer: subprocess.Popen[bytes] | None = None

    def run(self) -> Report:
        """Run the plan to the end and return the result."""
        testbed, plan, begin = self._testbed, self._plan, time.monotonic()
        testbed.start_members(RELAYS | WORKERS)
        words = python("scripts.commands.soak.producer", str(plan.jobs), str(plan.seconds), str(plan.seed))
        self._producer = producer = testbed.spawn("producer", words, testbed.environment())
        self._schedule(begin + 2.0)  # when the processes have started
        asked = begin
        while time.monotonic() < asked + DRAIN_SECONDS and (self._continues(producer) or self._due or self._left()):
            if self._continues(producer) and time.monotonic() < begin + STUCK_FACTOR * (plan.seconds + DRAIN_SECONDS):
                asked = time.monotonic()
            self._step()
        report = count_results(testbed)
        report.faults, report.seed = dict(sorted(self._faults.items())), plan.seed
        report.seconds = round(time.monotonic() - begin, 1)
        if producer.poll() != 0:
            report.details += f"the producer exited with {producer.poll()}\n"
            report.left += 1
        return report

    def _continues(self, producer: "subprocess.Popen[bytes]") -> bool:
        """Return whether faults go on: until all jobs are enqueued and the planned faults are injected."""
        return producer.poll() is None or self._injected < self._plan.faults

    def _schedule(self, after: float) -> None:
        """Schedule the next fault. Kinds take turns; the seed chooses the moments."""
        number, gap = self._injected, self._plan.seconds / self._plan.faults
        kind = self._plan.kinds[number % len(self._plan.kinds)]
        self._due.append((after + self._testbed.random.uniform(0.6, 1.4) * gap, lambda: self._inject(number, kind)))

    def _step(self) -> None:
        time.sleep(POLL_SECONDS)
        self._testbed.restart_ended()
        for due in sorted((each for each in self._due if each[0] <= time.monotonic()), key=lambda each: each[0]):
            self._due.remove(due)
            due[1]()

    def _inject(self, number: int, fault: Fault) -> None:
        name = getattr(fault, "__name__", "fault")
        try:
            self._testbed.rows(SNAPSHOT, [number, name, number])
        except psycopg2.OperationalError:
            # PostgreSQL is recovering from the previous fault, so no job is running. Inject this fault all the same.
            self._faults["while_recovering"] += 1
        undo = fault(self._testbed)
        self._faults[name] += 1
        self._injected += 1
        if undo is not None:
            self._due.append((time.monotonic() + undo[0], undo[1]))
        if self._producer is not None and self._continues(self._producer):
            self._schedule(time.monotonic())

    def _left(self) -> bool:
        try:
            return bool(self._testbed.rows(LEFT)[0][0])
        except psycopg2.OperationalError:
            return True


def count_results(testbed: FaultTestbed) -> Report:
    """Compare effects with intents."""
    lost, duplicate, ghost = testbed.rows(RESULTS)[0]
    acts, asked = testbed.vendor.acts(), {key for (key,) in testbed.rows(VENDOR_KEYS)}
    report = Report(
        lost=lost + len(asked - acts.keys()),
        duplicate=duplicate + sum(acts.values()) - len(acts),
        ghost=ghost + len(acts.keys() - asked),
        jobs=testbed.rows("select count(*) from chaos.intents")[0][0],
        dead=testbed.rows("select count(*) from app.job_status where state = 'dead'")[0][0],
        left=testbed.rows(LEFT)[0][0],
        recovery_p95_s=round(testbed.rows(RECOVERY)[0][0] or 0.0, 2),
        vendor_calls=testbed.vendor.calls,
        vendor_acts=sum(acts.values()),
        slowest=[list(row) for row in testbed.rows(SLOWEST)],
    )
    if not report.is_clean:
        rows = testbed.rows(
            "select state, actor, attempts, crashes, error, id from app.job_status where state <> 'done'"
        )
        report.details = "\n".join(map(str, rows[:20])) + "\n" + testbed.logs()
    return report


def run(plan: Plan) -> Report:
    """Run a plan on a new testbed."""
    with running_testbed(plan.seed) as testbed:
        return FaultRunner(testbed, plan).run()
