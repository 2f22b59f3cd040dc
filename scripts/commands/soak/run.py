"""One run: jobs are asked for while things go wrong; then everything has to drain, and is counted."""

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
from scripts.commands.soak.stage import RELAYS, WORKERS, Stage

PACE = 0.05
"""Seconds between two looks at what has ended and what is due."""
SETTLED = 120.0
"""Seconds after the last job was asked for, and the last fault, within which everything has to be over."""
STUCK = 5
"""Times as long as was planned, after which asking for jobs is stuck."""

TALLY = """
    select count(*) filter (where e.key is null),
        coalesce(sum(e.times - 1), 0)::int,
        count(*) filter (where i.key is null)
    from (select key from chaos.intents where kind <> 'outward') i
    full join (select key, count(*) as times from chaos.effects group by key) e on e.key = i.key
"""
OUTWARD = "select key from chaos.intents where kind = 'outward'"
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
    """How much, how long, and which random choices.

    `seconds` is the time over which jobs are asked for and `faults` strike; more do where asking takes longer.
    """

    jobs: int
    seconds: float
    faults: int
    seed: int
    kinds: Sequence[Fault] = FAULTS


@dataclass
class Report:
    """What came of it. The first five are to be 0."""

    lost: int = 0
    duplicate: int = 0
    ghost: int = 0
    dead: int = 0
    left: int = 0
    jobs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    recovery_p95_s: float = 0.0
    seconds: float = 0.0
    outside_calls: int = 0
    outside_acts: int = 0
    seed: int = 0
    slowest: list[list[object]] = field(default_factory=list)
    details: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, nothing happened twice, and nothing happened that nobody asked for."""
        return not (self.lost or self.duplicate or self.ghost or self.dead or self.left)

    def numbers(self) -> dict[str, object]:
        """All but the details, for machines."""
        return {name: value for name, value in asdict(self).items() if name != "details"}


@contextmanager
def staged(seed: int) -> Iterator[Stage]:
    """A stage for the block, on a disk."""
    with temporary("companon-chaos-") as base:
        stage = Stage(Path(base), seed)
        try:
            stage.start()
            yield stage
        finally:
            stage.stop()


class Director:
    """Lets things go wrong at their time. Everything happens in the caller's thread: processes die with theirs."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self._stage, self._plan = stage, plan
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._harm = Counter[str]()
        self._struck = 0
        self._producer: subprocess.Popen[bytes] | None = None

    def run(self) -> Report:
        """Everything, to the end."""
        stage, plan, begin = self._stage, self._plan, time.monotonic()
        stage.enter(RELAYS | WORKERS)
        words = python("scripts.commands.soak.producer", str(plan.jobs), str(plan.seconds), str(plan.seed))
        self._producer = producer = stage.spawn("producer", words, stage.environment())
        self._schedule(begin + 2.0)  # when the cast is up
        asked = begin
        while time.monotonic() < asked + SETTLED and (self._is_on(producer) or self._due or self._left()):
            if self._is_on(producer) and time.monotonic() < begin + STUCK * (plan.seconds + SETTLED):
                asked = time.monotonic()
            self._turn()
        report = tally(stage)
        report.faults, report.seed = dict(sorted(self._harm.items())), plan.seed
        report.seconds = round(time.monotonic() - begin, 1)
        if producer.poll() != 0:
            report.details += f"the producer ended with {producer.poll()}\n"
            report.left += 1
        return report

    def _is_on(self, producer: "subprocess.Popen[bytes]") -> bool:
        """Whether things go on going wrong: until all jobs are asked for, and for so many faults at least."""
        return producer.poll() is None or self._struck < self._plan.faults

    def _schedule(self, after: float) -> None:
        """The next fault: they come in the order of their kinds, at moments that the seed picks."""
        number, gap = self._struck, self._plan.seconds / self._plan.faults
        kind = self._plan.kinds[number % len(self._plan.kinds)]
        self._due.append((after + self._stage.random.uniform(0.6, 1.4) * gap, lambda: self._strike(number, kind)))

    def _turn(self) -> None:
        time.sleep(PACE)
        self._stage.revive()
        for due in sorted((each for each in self._due if each[0] <= time.monotonic()), key=lambda each: each[0]):
            self._due.remove(due)
            due[1]()

    def _strike(self, number: int, fault: Fault) -> None:
        name = getattr(fault, "__name__", "fault")
        try:
            self._stage.rows(SNAPSHOT, [number, name, number])
        except psycopg2.OperationalError:
            # PostgreSQL recovers from the last fault: this one strikes all the same, and nothing was held.
            self._harm["while_recovering"] += 1
        undo = fault(self._stage)
        self._harm[name] += 1
        self._struck += 1
        if undo is not None:
            self._due.append((time.monotonic() + undo[0], undo[1]))
        if self._producer is not None and self._is_on(self._producer):
            self._schedule(time.monotonic())

    def _left(self) -> bool:
        try:
            return bool(self._stage.rows(LEFT)[0][0])
        except psycopg2.OperationalError:
            return True


def tally(stage: Stage) -> Report:
    """Count what happened beside what was asked for."""
    lost, duplicate, ghost = stage.rows(TALLY)[0]
    acts, asked = stage.outside.acts(), {key for (key,) in stage.rows(OUTWARD)}
    report = Report(
        lost=lost + len(asked - acts.keys()),
        duplicate=duplicate + sum(acts.values()) - len(acts),
        ghost=ghost + len(acts.keys() - asked),
        jobs=stage.rows("select count(*) from chaos.intents")[0][0],
        dead=stage.rows("select count(*) from app.job_status where state = 'dead'")[0][0],
        left=stage.rows(LEFT)[0][0],
        recovery_p95_s=round(stage.rows(RECOVERY)[0][0] or 0.0, 2),
        outside_calls=stage.outside.calls,
        outside_acts=sum(acts.values()),
        slowest=[list(row) for row in stage.rows(SLOWEST)],
    )
    if not report.is_clean:
        rows = stage.rows("select state, actor, attempts, crashes, error, id from app.job_status where state <> 'done'")
        report.details = "\n".join(map(str, rows[:20])) + "\n" + stage.logs()
    return report


def run(plan: Plan) -> Report:
    """Run a plan on a stage of its own."""
    with staged(plan.seed) as stage:
        return Director(stage, plan).run()
