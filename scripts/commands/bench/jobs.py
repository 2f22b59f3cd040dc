"""`bench jobs`: rate of draining the ledger beside stock Dramatiq, and delay from a job's commit to its start.

Both run the same INSERT per job in a transaction, with the same driver, servers, login, processes, threads and log
level. A second Dramatiq commits in autocommit mode, in one round trip. Dramatiq's commits wait for the disk. Ours
don't: a job that a crash rolls back is in the ledger and runs again. PostgreSQL supplies commit times. Intents are
compared with effects.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from scripts.commands.bench import enqueue, fairness, million, timers
from scripts.commands.bench.report import Numbers, merged, table
from scripts.commands.bench.servers import Bench, bench, python
from scripts.commands.bench.worker_group import TALLY
from scripts.devstack.environment import VENV
from scripts.devstack.progress import say, step

PROCESSES, THREADS = 2, 8
STEADY_RATE, IDLE_RATE = 300, 2
"""Jobs per second while the delay from commit to start is measured."""
STALLED = 15.0
"""Seconds without a new effect after which missing jobs count as lost."""

SCHEMA = """
    create schema bench;
    create table bench.intents (n bigint not null);
    create table bench.effects (n bigint not null, at timestamptz not null default clock_timestamp());
    grant usage on schema bench to app_job, app_worker;
    grant insert on bench.intents, bench.effects to app_job, app_worker;
"""
RATE = """
    select count(*) / greatest(0.001, extract(epoch from max(pg_xact_commit_timestamp(xmin)) - %s))::float8
    from bench.effects
"""
COMMIT_TO_START = """
    select percentile_cont(array[0.5, 0.95]) within group (
        order by 1000 * extract(epoch from e.at - pg_xact_commit_timestamp(i.xmin))::float8)
    from bench.intents i join bench.effects e on e.n = i.n
"""


@dataclass
class System:
    """One system under test and its results."""

    name: str
    producer: str
    workers: str
    relay: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    drained: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time per job in µs, including the servers'."""
    enqueued: list[float] = field(default_factory=list)
    lost: int = 0
    duplicate: int = 0
    ghost: int = 0

    @property
    def processes(self) -> int:
        """Return the number of processes at the start line."""
        return PROCESSES + (1 if self.relay else 0)

    def start(self, servers: Bench) -> None:
        """Start its processes; they wait at the start line."""
        env = servers.environment(**self.environment)
        if self.relay:
            servers.spawn("relay", python(self.relay), env)
        options = ["--processes", str(PROCESSES), "--threads", str(THREADS), "--skip-logging"]
        servers.spawn(self.name, [str(VENV / "bin" / "dramatiq"), self.workers, *options], env)
        servers.line_up(self.processes)

    def tally(self, servers: Bench) -> None:
        """Add up lost, duplicate and ghost jobs, and clear the tables."""
        lost, duplicate, ghost = servers.rows(TALLY)[0]
        self.lost, self.duplicate, self.ghost = self.lost + lost, self.duplicate + duplicate, self.ghost + ghost
        servers.rows("truncate bench.intents, bench.effects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=5000, metavar="N", help="jobs in each drain")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="alternating drains of each")
    parser.add_argument("--seconds", type=int, default=6, metavar="N", help="duration of the steady rate")
    parser.add_argument("--timers", type=int, default=10_000, metavar="N", help="delayed jobs")
    parser.add_argument("--timer-seconds", type=int, default=29, metavar="N", help="time span of the due times")
    fairness.add_arguments(parser)
    enqueue.add_arguments(parser)
    million.add_arguments(parser)


def measure(given: argparse.Namespace) -> Numbers:
    """Rate of draining the ledger beside stock Dramatiq, and delay from a job's commit to its start."""
    ours = System("ours", "ledger", "scripts.commands.bench.ours", "scripts.commands.bench.relay")
    stock = System("dramatiq", "dramatiq", "scripts.commands.bench.stock")
    eager = System("  autocommit", "dramatiq", "scripts.commands.bench.stock", environment={"STOCK_AUTOCOMMIT": "1"})
    systems = [ours, stock, eager]
    with bench() as servers:
        servers.rows(SCHEMA)
        for number in range(1, given.rounds + 1):
            # Alternate the order: the load of the machine changes over time.
            for system in systems if number % 2 else reversed(systems):
                _drain(servers, system, given.jobs)
            say(f"  Round {number}: " + ", ".join(f"{one.name.strip()} {one.drained[-1]:.0f}" for one in systems))
        waits = _waits(servers, ours, given.seconds)
        others = [
            enqueue.measure(servers, given.transactions),
            timers.measure(servers, given.timers, given.timer_seconds),
            fairness.measure(servers, given.fairness_seconds, given.fairness_rounds),
            # Run this one last: it leaves the ledger full.
            million.measure(servers, given.million, given.rows, plans=given.plans),
        ]
    _show(given, systems, waits)
    return merged(_numbers(given, systems, waits), *others)


def _drain(servers: Bench, system: System, count: int) -> None:
    """Enqueue all jobs, then drain them; measure from the start signal to the last commit."""
    system.enqueued.append(_produce(servers, system.producer, count)["per_s"])
    if system.producer == "dramatiq":
        servers.rows("insert into bench.intents select n from generate_series(0, %s - 1) as n", [count])
    servers.rows("vacuum (analyze) app.jobs")
    system.start(servers)
    started = servers.rows("select clock_timestamp()")[0]
    cpu = servers.cpu_seconds()
    servers.go(system.processes)
    _await_effects(servers, count)
    system.cpu_us.append(1e6 * (servers.cpu_seconds() - cpu) / count)
    servers.end_all()
    system.drained.append(servers.rows(RATE, started)[0][0])
    system.tally(servers)


def _waits(servers: Bench, ours: System, seconds: int) -> dict[str, float]:
    """Measure the delay from commit to start in ms, at a steady rate and when nearly idle."""
    ours.start(servers)
    servers.go(ours.processes)
    _wait(servers, ours, STEADY_RATE, 1)  # The first jobs open the connections.
    steady = _wait(servers, ours, STEADY_RATE, seconds)
    idle = _wait(servers, ours, IDLE_RATE, 2 * seconds)
    servers.end_all()
    return {
        "commit_to_start_p50_ms": steady[0],
        "commit_to_start_p95_ms": steady[1],
        "idle_start_p50_ms": idle[0],
        "idle_start_p95_ms": idle[1],
    }


def _wait(servers: Bench, ours: System, rate: int, seconds: int) -> tuple[float, float]:
    with step(f"{rate} jobs/s for {seconds} s"):
        _produce(servers, "paced", rate * seconds, rate)
        _await_effects(servers, rate * seconds)
    p50, p95 = servers.rows(COMMIT_TO_START)[0][0]
    ours.tally(servers)
    return round(p50, 1), round(p95, 1)


def _produce(servers: Bench, *arguments: object) -> dict[str, float]:
    words = python("scripts.commands.bench.producer", *map(str, arguments))
    produced: dict[str, float] = json.loads(servers.run("producer", words, servers.environment()))
    return produced


def _await_effects(servers: Bench, count: int) -> None:
    """Wait until there are `count` effects, or none has been added for `STALLED` seconds."""
    seen, since = 0, time.monotonic()
    while seen < count and time.monotonic() - since < STALLED:
        time.sleep(0.2)
        now = servers.rows("select count(*) from bench.effects")[0][0]
        if now > seen:
            seen, since = now, time.monotonic()


def _show(given: argparse.Namespace, systems: Sequence[System], waits: Mapping[str, float]) -> None:
    ours, stock, eager = systems
    say(
        f"Drain of {given.jobs} jobs, one insert each; {PROCESSES} processes × {THREADS} threads that log warnings only"
    )
    rows = [
        [
            one.name,
            f"{median(one.drained):.0f}",
            " ".join(f"{rate:.0f}" for rate in one.drained),
            f"{median(one.cpu_us):.0f}",
            f"{median(one.enqueued):.0f}",
            *(str(count) for count in (one.lost, one.duplicate, one.ghost)),
        ]
        for one in systems
    ]
    table(["", "jobs/s", "in each round", "CPU µs/job", "enqueued/s", "lost", "duplicate", "ghost"], rows)
    say(f"  ratio {_ratio(ours, stock):.2f}; to the one that commits by itself {_ratio(ours, eager):.2f}")
    say("From commit to start, in ms")
    named = [[f"{wait:.1f}" for wait in list(waits.values())[first : first + 2]] for first in (0, 2)]
    table(["", "p50", "p95"], [[f"{STEADY_RATE} jobs/s", *named[0]], [f"{IDLE_RATE} jobs/s", *named[1]]])


def _ratio(ours: System, stock: System) -> float:
    """Return the median ratio of neighbouring rounds."""
    return median(mine / theirs for mine, theirs in zip(ours.drained, stock.drained, strict=True))


def _numbers(given: argparse.Namespace, systems: Sequence[System], waits: Mapping[str, float]) -> dict[str, float]:
    ours, stock, eager = systems
    return {
        "ratio_dramatiq": round(_ratio(ours, stock), 3),
        "ratio_dramatiq_autocommit": round(_ratio(ours, eager), 3),
        "ours_per_s": round(median(ours.drained)),
        "dramatiq_per_s": round(median(stock.drained)),
        "cpu_us_per_job": round(median(ours.cpu_us)),
        "dramatiq_cpu_us_per_job": round(median(stock.cpu_us)),
        "enqueue_per_s": round(median(ours.enqueued)),
        "dramatiq_enqueue_per_s": round(median(stock.enqueued)),
        **waits,
        "lost": ours.lost,
        "duplicate": ours.duplicate,
        "ghost": ours.ghost,
        "jobs": given.jobs,
        "rounds": given.rounds,
    }
