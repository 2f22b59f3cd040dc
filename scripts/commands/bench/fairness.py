"""What a brand that asks for far too much costs the others: how much longer they wait than they do alone.

Jobs take 20 ms, in which they need no processor; 1 process of 4 threads runs them, so that a small machine is enough.
First its capacity is measured, on a backlog. Then, over the same seconds and at the same moments, as chance has them
(Poisson), nine quiet brands ask for jobs: by turns alone and beside a noisy brand, a few times, since whatever else the
machine does comes and goes. What is told is the middle one of the ratios of neighbours in time. Beside the noisy brand
everybody together asks for ten times what can be done, of which its share is the larger part; all of its jobs are there
before the first of the others' comes, which is worse for these than if they came by and by. What is left of them when
the others are done is taken out of the ledger.

The noisy share is 92 %, not 90 %: nine times in ten of a tenfold overload would leave the others exactly what can be
done. Alone they would have no room to spare, so how long they wait would be a matter of chance and of how long one
measures, and beside a tenth brand, whose turn is as good as theirs, their queues would grow for ever. So they ask for
four fifths of what can be done, and the noisy brand for the rest of the ten times.

A wait is the time from a job's commit to its start, at the database; of all jobs of the quiet brands.
"""

import argparse
import time
from collections.abc import Sequence
from statistics import median

from scripts.commands.bench.crew import Crew, tally
from scripts.commands.bench.offers import NOISE
from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, python
from scripts.devstack.progress import say, step

PROCESSES, THREADS = 1, 4
OVERLOAD, QUIET_SHARE = 10.0, 0.8
"""What everybody together, and the quiet brands, ask for: times the capacity."""
CALIBRATION = 400
SETTLED = 20.0
"""Seconds after the last job was asked for, after which what is missing is taken for lost."""

# The first ones open connections.
RATE = """
    select 0.75 * count(*) / extract(epoch from max(at) - percentile_disc(0.25) within group (order by at))::float8
    from bench.effects
"""
WAITS = """
    select percentile_cont(array[0.5, 0.95]) within group (
        order by 1000 * extract(epoch from e.at - pg_xact_commit_timestamp(i.xmin))::float8)
    from bench.intents i join bench.effects e on e.n = i.n where i.n < %s
"""
# What of the noisy brand has not been taken when the others are done: it is neither lost nor done.
WITHDRAW = """
    with withdrawn as (
        delete from app.jobs where state = 'waiting' and (args ->> 0)::bigint >= %s returning (args ->> 0)::bigint as n
    )
    delete from bench.intents using withdrawn where intents.n = withdrawn.n
"""


Waits = tuple[float, float]
"""How long the quiet brands' jobs wait, in ms: the 50th and 95th percentile."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--fairness-seconds", type=int, default=3, metavar="N", help="how long a brand is noisy")
    parser.add_argument(
        "--fairness-rounds", type=int, default=5, metavar="N", help="how often it is, and how often not"
    )


def measure(servers: Bench, seconds: int, rounds: int) -> Numbers:
    """How many times as long nine brands wait beside a noisy one as they do alone, at the 95th percentile."""
    crew = Crew(servers, PROCESSES, THREADS)
    crew.start()
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
    crew.end()
    ratios = [more / less for (_, more), (_, less) in zip(beside, alone, strict=True)]
    _show(capacity, rate, alone, beside, ratios)
    return {
        "fairness_ratio": round(median(ratios), 2),
        "fairness_alone_p95_ms": round(median(p95 for _, p95 in alone), 1),
        "fairness_beside_p95_ms": round(median(p95 for _, p95 in beside), 1),
        **{name: sum(each[name] for each in counted) for name in ("lost", "duplicate", "ghost")},
    }


def _capacity(servers: Bench) -> float:
    """Jobs per second of a brand's that has many."""
    with step("20 ms jobs, as fast as it goes"):
        _offer(servers, "noisy", CALIBRATION)
        _await_effects(servers, CALIBRATION)
    return float(servers.rows(RATE)[0][0])


def _run(servers: Bench, quiet: int, rate: int, noisy: int) -> Waits:
    """Let the quiet brands ask for so many jobs, beside so many of a noisy one; nothing of these is left."""
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
    """Wait until `count` of the jobs whose number is below that have run, or nothing can be expected any more."""
    deadline = time.monotonic() + SETTLED
    ran = "select count(*) from bench.effects where n < %s"
    while time.monotonic() < deadline and servers.rows(ran, [below])[0][0] < count:
        time.sleep(0.2)


def _await_none(servers: Bench) -> None:
    """Wait until what was taken has ended."""
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
