"""What a brand that asks for far too much costs the others: how much longer they wait than they do alone.

Jobs take 20 ms, in which they need no processor; 1 process of 4 threads runs them, so that a small machine is enough.
First its capacity is measured, on a backlog. Then, over the same seconds and at the same moments, as chance has them
(Poisson), nine quiet brands ask for jobs: once alone, and once beside a noisy brand. Over those seconds everybody
together asks for ten times what can be done, of which the noisy brand's share is the larger part; all of its jobs are
there before the first of the others' comes, which is worse for these than if they came by and by.

The noisy share is 92 %, not 90 %: nine times in ten of a tenfold overload would leave the others exactly what can be
done. Alone they would have no room to spare, so how long they wait would be a matter of chance and of how long one
measures, and beside a tenth brand, whose turn is as good as theirs, their queues would grow for ever. So they ask for
four fifths of what can be done, and the noisy brand for the rest of the ten times.

A wait is the time from a job's commit to its start, at the database; of all jobs of the quiet brands.
"""

import time

from scripts.benchmarks.crew import Crew, tally
from scripts.benchmarks.report import Numbers, table
from scripts.benchmarks.servers import Bench, python
from scripts.setup.progress import say, step

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
# What of the noisy brand still waits in the ledger when it is over is neither lost nor done.
NOT_YET = "delete from bench.intents where n >= %s and n in (select (args ->> 0)::bigint from app.jobs)"


def measure(servers: Bench, seconds: int) -> Numbers:
    """How many times as long nine brands wait beside a noisy one as they do alone, at the 95th percentile."""
    crew = Crew(servers, PROCESSES, THREADS)
    crew.start()
    capacity, *counted = _capacity(servers), tally(servers)
    rate = round(QUIET_SHARE * capacity)
    alone = _run(servers, rate, seconds, 0)
    counted.append(tally(servers))
    beside = _run(servers, rate, seconds, round((OVERLOAD * capacity - rate) * seconds))
    crew.end()
    servers.rows(NOT_YET, [rate * seconds])
    counted.append(tally(servers))
    _show(capacity, rate, alone, beside)
    return {
        "fairness_ratio": round(beside[1] / alone[1], 2),
        "fairness_alone_p95_ms": round(alone[1], 1),
        "fairness_beside_p95_ms": round(beside[1], 1),
        **{name: sum(each[name] for each in counted) for name in ("lost", "duplicate", "ghost")},
    }


def _capacity(servers: Bench) -> float:
    """Jobs per second of a brand's that has many."""
    with step("20 ms jobs, as fast as it goes"):
        _offer(servers, "noisy", CALIBRATION)
        _await_effects(servers, CALIBRATION)
    return float(servers.rows(RATE)[0][0])


def _run(servers: Bench, rate: int, seconds: int, noisy: int) -> tuple[float, float]:
    """How long the quiet brands' jobs wait, in ms: p50 and p95."""
    quiet = rate * seconds
    with step(f"{rate} jobs/s of nine brands" + (f" and {noisy} of another" if noisy else "")):
        if noisy:
            _offer(servers, "noisy", noisy)
        _offer(servers, "quiet", quiet, rate)
        _await_effects(servers, quiet, below=quiet)
    p50, p95 = servers.rows(WAITS, [quiet])[0][0]
    return p50, p95


def _offer(servers: Bench, *arguments: object) -> None:
    servers.run("offers", python("scripts.benchmarks.offers", *map(str, arguments)), servers.environment())


def _await_effects(servers: Bench, count: int, below: int = 2**62) -> None:
    """Wait until `count` of the jobs whose number is below that have run, or nothing can be expected any more."""
    deadline = time.monotonic() + SETTLED
    ran = "select count(*) from bench.effects where n < %s"
    while time.monotonic() < deadline and servers.rows(ran, [below])[0][0] < count:
        time.sleep(0.2)


def _show(capacity: float, rate: int, alone: tuple[float, float], beside: tuple[float, float]) -> None:
    say(
        f"Nine brands' {rate} jobs/s, alone and beside a tenth brand, with which they ask for {OVERLOAD:.0f} times the"
        f" {capacity:.0f} jobs/s that {PROCESSES} × {THREADS} threads do; from commit to start, in ms"
    )
    rows = [[name, *(f"{wait:.1f}" for wait in waits)] for name, waits in (("alone", alone), ("beside", beside))]
    table(["", "p50", "p95"], rows)
    say(f"  ratio {beside[1] / alone[1]:.2f}")
