"""Effect of an overloading brand on others: their waiting time relative to their waiting time alone.

Jobs take 20 ms and use no processor. One process with 4 threads runs them, so that a small machine is enough. First its
capacity is measured on a backlog. Then nine quiet brands enqueue jobs at Poisson-distributed times, the same in every
round. Rounds alternate: the quiet brands alone, and beside a noisy brand. The result is the median ratio of
neighbouring rounds. Beside the noisy brand all brands together request ten times the capacity. All jobs of the noisy
brand exist before the first quiet job, which is worse for the others than gradual arrival. The rest is removed
afterwards.

The quiet brands request four fifths of the capacity, and the noisy brand the rest of the tenfold load. With a tenth of
the load for each, the quiet brands alone would fill the capacity exactly, and their queues would depend on chance.

A waiting time lasts from a job's commit to its start, by the database's clock, over all jobs of the quiet brands.
"""

import argparse
import time
from collections.abc import Sequence
from statistics import median

from scripts.commands.bench.offers import NOISE
from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, python
from scripts.commands.bench.worker_group import WorkerGroup, tally
from scripts.devstack.progress import say, step

PROCESSES, THREADS = 1, 4
OVERLOAD, QUIET_SHARE = 10.0, 0.8
"""Requested load as a multiple of the capacity: of all brands, and of the quiet ones."""
CALIBRATION = 400
SETTLED = 20.0
"""Seconds after the last enqueue after which missing jobs count as lost."""

# The first jobs open the connections.
RATE = """
    select 0.75 * count(*) / extract(epoch from max(at) - percentile_disc(0.25) within group (order by at))::float8
    from bench.effects
"""
WAITS = """
    select percentile_cont(array[0.5, 0.95]) within group (
        order by 1000 * extract(epoch from e.at - pg_xact_commit_timestamp(i.xmin))::float8)
    from bench.intents i join bench.effects e on e.n = i.n where i.n < %s
"""
# Remove jobs of the noisy brand that were not claimed: they are neither lost nor done.
WITHDRAW = """
    with withdrawn as (
        delete from app.jobs where state = 'waiting' and (args ->> 0)::bigint >= %s returning (args ->> 0)::bigint as n
    )
    delete from bench.intents using withdrawn where intents.n = withdrawn.n
"""


Waits = tuple[float, float]
"""Waiting times of the quiet brands' jobs in ms: 50th and 95th percentile."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--fairness-seconds", type=int, default=3, metavar="N", help="duration of each round")
    parser.add_argument(
        "--fairness-rounds", type=int, default=5, metavar="N", help="rounds with the noisy brand, and without"
    )


def measure(servers: Bench, seconds: int, rounds: int) -> Numbers:
    """Ratio of nine brands' 95th percentile waiting time beside a noisy brand to that alone."""
    workers = WorkerGroup(servers, PROCESSES, THREADS)
    workers.start()
    capacity, *counted = _capacity(servers), tally(servers)
    rate = round(QUIET_SHARE * capacity)
    noisy = round((OVERLOAD * capacity - rate) * seconds)
    alone: list[Waits] = []
    beside: list[Waits] = []
    with step(f"{rate} jobs/s of nine brands for {seconds} s, alone and beside {noisy} of another, {rounds} times"):
        for number in range(rounds):
            turns = [(alone, 0), (beside, noisy)]
            for found, noise in turns if number % 2 else reversed(turns):
                found.append(_run(servers, rate * seconds, rate, noise))
                counted.append(tally(servers))
    workers.end()
    ratios = [more / less for (_, more), (_, less) in zip(beside, alone, strict=True)]
    _show(capacity, rate, alone, beside, ratios)
    return {
        "fairness_ratio": round(median(ratios), 2),
        "fairness_alone_p95_ms": round(median(p95 for _, p95 in alone), 1),
        "fairness_beside_p95_ms": round(median(p95 for _, p95 in beside), 1),
        **{name: sum(each[name] for each in counted) for name in ("lost", "duplicate", "ghost")},
    }


def _capacity(servers: Bench) -> float:
    """Measure the capacity in jobs per second on a backlog of one brand."""
    with step("20 ms jobs, as fast as it goes"):
        _offer(servers, "noisy", CALIBRATION)
        _await_effects(servers, CALIBRATION)
    return float(servers.rows(RATE)[0][0])


def _run(servers: Bench, quiet: int, rate: int, noisy: int) -> Waits:
    """Enqueue `quiet` jobs of the quiet brands beside `noisy` ones of another. Remove the rest of the noisy ones."""
    if noisy:
        _offer(servers, "noisy", noisy)
    _offer(servers, "quiet", quiet, rate)
    _await_effects(servers, quiet, below=NOISE)
    servers.rows(WITHDRAW, [NOISE])
    _await_none(servers)
    p50, p95 = servers.rows(WAITS, [NOISE])[0][0]
    return p50, p95


def _offer(servers: Bench, *arguments: object) -> None:
    servers.run("offers", python("scripts.commands.bench.offers", *map(str, arguments)), servers.environment())


def _await_effects(servers: Bench, count: int, below: int = 2**62) -> None:
    """Wait until `count` jobs with a number under `below` have run, or for `SETTLED` seconds."""
    deadline = time.monotonic() + SETTLED
    ran = "select count(*) from bench.effects where n < %s"
    while time.monotonic() < deadline and servers.rows(ran, [below])[0][0] < count:
        time.sleep(0.2)


def _await_none(servers: Bench) -> None:
    """Wait until claimed jobs have finished."""
    deadline = time.monotonic() + SETTLED
    while time.monotonic() < deadline and servers.rows("select count(*) from app.jobs")[0][0]:
        time.sleep(0.05)


def _show(capacity: float, rate: int, alone: Sequence[Waits], beside: Sequence[Waits], ratios: Sequence[float]) -> None:
    say(
        f"Nine brands' {rate} jobs/s, alone and beside a tenth brand, with which they ask for {OVERLOAD:.0f} times the"
        f" {capacity:.0f} jobs/s that {PROCESSES} × {THREADS} threads do; from commit to start, in ms"
    )
    table(["", "p50", "p95", "p95 in each round"], [_row("alone", alone), _row("beside", beside)])
    say(f"  ratio {median(ratios):.2f}; in each round {' '.join(f'{ratio:.2f}' for ratio in ratios)}")


def _row(name: str, waits: Sequence[Waits]) -> list[str]:
    p50, p95 = (median(wait[place] for wait in waits) for place in (0, 1))
    return [name, f"{p50:.1f}", f"{p95:.1f}", " ".join(f"{wait:.1f}" for _, wait in waits)]
