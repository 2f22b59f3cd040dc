"""Lateness of delayed jobs while their workers and their broker are killed.

Jobs are enqueued first and fall due one by one. Meanwhile the whole group of workers is killed (SIGKILL) and restarted
at once, then Redis, then both together. The lateness of a job lasts from its due time to its start, minus outages
within that time. An outage lasts from a kill until all worker processes are ready, or until Redis answers. So the
lateness covers the detection of a dead worker, the recovery of its jobs, and the backlog. All times are the database's.
"""

import json
import time
from collections.abc import Callable
from datetime import datetime

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, python
from scripts.commands.bench.worker_group import WorkerGroup, tally
from scripts.devstack.progress import say, step

PROCESSES, THREADS = 2, 8
SETTLED = 20.0
"""Seconds after the last due time and the last outage after which missing jobs count as lost."""

SCHEMA = """
    create table bench.timers (n bigint not null, due_at timestamptz not null);
    create table bench.outages (what text not null, began timestamptz not null, ended timestamptz);
    grant insert on bench.timers to app_job;
"""
LATENESS = """
    select percentile_cont(array[0.5, 0.99, 1]) within group (order by 1000 * (late - outages)) from (
        select extract(epoch from e.at - t.due_at)::float8 as late, (
            select coalesce(sum(extract(epoch from
                greatest(interval '0', least(e.at, o.ended) - greatest(t.due_at, o.began)))), 0)::float8
            from bench.outages o) as outages
        from bench.timers t join bench.effects e on e.n = t.n
    ) as each
"""
OUTAGES = """
    select what, extract(epoch from began - due.first)::float8, extract(epoch from ended - began)::float8,
        (select count(*) from bench.timers t where t.due_at between began and ended)
    from bench.outages, (select min(due_at) as first from bench.timers) as due order by began
"""
TAKEN_BACK = "select count(*) from app.job_history where crashes > 0"
DROP = "drop table bench.timers, bench.outages"


def measure(servers: Bench, count: int, seconds: int) -> Numbers:
    """Let `count` jobs fall due over `seconds` seconds with three outages. Return their lateness in ms."""
    servers.rows(SCHEMA)
    workers = WorkerGroup(servers, PROCESSES, THREADS)
    workers.start()
    with step(f"{count} timers over {seconds} s"):
        words = python("scripts.commands.bench.offers", "timers", str(count), str(seconds))
        spare = json.loads(servers.run("timers", words, servers.environment()))["spare_s"]
        _interrupt(workers)
        _await_all(servers, count)
    workers.end()
    p50, p99, most = servers.rows(LATENESS)[0][0] or (0.0, 0.0, 0.0)
    _show(servers, count, spare, (p50, p99, most))
    servers.rows(DROP)
    return {"timer_lateness_p50_ms": round(p50, 1), "timer_lateness_p99_ms": round(p99, 1), **tally(servers)}


def _interrupt(workers: WorkerGroup) -> None:
    """Cause the three outages at their times."""
    first, last = workers.servers.rows("select min(due_at), max(due_at) from bench.timers")[0]
    kinds: list[tuple[str, Callable[[WorkerGroup], None]]] = [("workers", _workers), ("Redis", _redis), ("both", _both)]
    for number, (name, interrupt) in enumerate(kinds, start=1):
        _sleep_until(workers.servers, first + (last - first) * number / (len(kinds) + 1))
        began = _clock(workers.servers)
        interrupt(workers)
        workers.servers.rows("insert into bench.outages values (%s, %s, clock_timestamp())", [name, began])


def _workers(workers: WorkerGroup) -> None:
    workers.kill_workers()
    workers.start_workers()


def _redis(workers: WorkerGroup) -> None:
    workers.servers.redis.kill()
    workers.servers.redis.start()


def _both(workers: WorkerGroup) -> None:
    workers.kill_workers()
    _redis(workers)
    workers.start_workers()


def _clock(servers: Bench) -> datetime:
    at: datetime = servers.rows("select clock_timestamp()")[0][0]
    return at


def _sleep_until(servers: Bench, moment: datetime) -> None:
    time.sleep(max(0.0, (moment - _clock(servers)).total_seconds()))


def _await_all(servers: Bench, count: int) -> None:
    """Wait until every job has run, or for `SETTLED` seconds after the last due time."""
    (last,) = servers.rows("select max(due_at) from bench.timers")[0]
    deadline = time.monotonic() + SETTLED + max(0.0, (last - _clock(servers)).total_seconds())
    while time.monotonic() < deadline and servers.rows("select count(*) from bench.effects")[0][0] < count:
        time.sleep(0.2)


def _show(servers: Bench, count: int, spare: float, late: tuple[float, float, float]) -> None:
    say(f"{count} timers, the first due {spare:.1f} s after the last was enqueued; outages")
    outages = [[what, f"{began:.1f}", f"{lasted:.2f}", str(due)] for what, began, lasted, due in servers.rows(OUTAGES)]
    table(["", "at s", "for s", "due in it"], outages)
    say(f"Lateness beyond the outages, in ms; {servers.rows(TAKEN_BACK)[0][0]} jobs were reclaimed from dead workers")
    table(["", "p50", "p99", "most"], [["timers", *(f"{each:.1f}" for each in late)]])
