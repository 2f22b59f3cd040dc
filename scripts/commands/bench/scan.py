"""`bench scan`: scans over HTTP beside `pgbench` calling the same SQL function on the same server, one row per commit.

Phones (wrk) keep their connections open and wait for each response. `pgbench` passes prepared rows on the number of
connections that is fastest for it; it has no HTTP, JSON or signatures to process. The two alternate.
"""

import argparse
import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from statistics import median

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, bench, python
from scripts.devstack import packages, procfile, sockets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail, say, step

CONNECTIONS, WEB_PROCESSES = 64, 2
FANS = 1000
"""Enough fans that no rate limit is reached."""
CLIENTS = (8, 16, 32, 64)
"""Numbers of pgbench connections; the fastest is the yardstick."""
TRIAL = 1
"""Seconds of each trial and of the web tier's warm-up."""
SCRIPTS = ROOT / "scripts" / "commands" / "bench"

SCHEMA = """
    create schema bench;
    create table bench.phones (n int primary key, row jsonb not null);
    create table bench.answered (scan_id uuid not null);
    create sequence bench.ids;
    grant usage on schema bench to app_scan;
    grant select on bench.phones to app_scan;
    grant usage on sequence bench.ids to app_scan;
"""
TALLY = """
    with accepted as materialized (
        select id, client_scan_id from public.qr_scans where decision = 'accepted'
    ),
    counted as (
        select coalesce(sum(used), 0) as scans from app.limit_counters where scope = 'user'
    )
    select
        (select count(*) from bench.answered where scan_id not in (select id from accepted))
            + (select greatest(0, count(*) - min(scans)) from accepted, counted),
        (select count(*) - count(distinct scan_id) from bench.answered)
            + (select count(*) - count(distinct client_scan_id) from accepted)
            + (select greatest(0, min(scans) - count(*)) from accepted, counted)
"""


@dataclass
class Side:
    """Results of one side, one element for each round."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time per scan in µs: of the servers and the web tier, without wrk and pgbench."""
    refused: int = 0
    """Scans that were not accepted."""


@dataclass
class Phones(Side):
    """Results of the phones' side and their responses."""

    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """Number of responses by status; `broken` counts connections without a response."""


@dataclass(frozen=True)
class Course:
    """Parameters that all rounds have in common."""

    servers: Bench
    port: int
    fans: int
    seconds: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="duration of each round")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="alternating rounds of each")
    parser.add_argument("--fans", type=int, default=FANS, metavar="N", help="number of phones")
    parser.add_argument("--with-workers", action="store_true", help="run relay and workers, too")


def measure(given: argparse.Namespace) -> Numbers:
    """Measure scans over HTTP beside pgbench calls of the same SQL function."""
    packages.ensure_program("wrk")
    phones, single = Phones(), Side()
    with bench() as servers:
        servers.rows(SCHEMA)
        course = Course(servers, sockets.free_port(), given.fans, given.seconds)
        env = servers.environment(
            PORT=str(course.port),
            PUBLIC_URL=f"http://127.0.0.1:{course.port}",
            WEB_CONCURRENCY=str(WEB_PROCESSES),
            LOG_LEVEL="INFO",
        )
        _stage(servers, env, given.fans)
        _start(servers, env, with_workers=given.with_workers)
        clients = _warm_up(course)
        for number in range(1, given.rounds + 1):
            _scan(course, phones, number)
            _call(course, single, clients)
            say(f"  Round {number}: {phones.per_s[-1]:.0f} scans/s, pgbench {single.per_s[-1]:.0f} calls/s")
        servers.end_all()
        lost, duplicate = map(int, servers.rows(TALLY)[0])
    _show(given, phones, single, clients, lost, duplicate)
    return _numbers(phones, single, lost, duplicate)


def _stage(servers: Bench, env: dict[str, str], fans: int) -> None:
    with step(f"Making a campaign and {fans} fans"):
        # Set-up isn't measured, so don't wait for the disk.
        env = env | {"PGOPTIONS": "-c synchronous_commit=off"}
        host = env["PUBLIC_URL"].removeprefix("http://")
        servers.run("stage", python("scripts.commands.bench.stage", str(fans), host, str(servers.base)), env)
        with closing(servers.superuser()) as db, db.cursor() as cursor, (servers.base / "rows.txt").open() as rows:
            cursor.copy_expert("copy bench.phones from stdin", rows)
        servers.rows("vacuum (analyze)")


def _start(servers: Bench, env: dict[str, str], *, with_workers: bool) -> None:
    commands = procfile.read(ROOT / "Procfile")
    for name in ("web", "relay", "worker", "worker-scans") if with_workers else ("web",):
        servers.spawn(name, procfile.argv(commands[name]), env)
    with step("Starting gunicorn"):
        servers.until_answers(env["PUBLIC_URL"] + "/readyz")


def _warm_up(course: Course) -> int:
    """Warm up caches, plans and statistics. Return pgbench's fastest number of connections."""
    trial = replace(course, seconds=TRIAL)
    rates: dict[int, float] = {}
    with step("Warming up, and finding pgbench's best number of connections"):
        _scan(trial, Phones(), 0)
        course.servers.rows("vacuum (analyze)")
        for clients in CLIENTS:
            side = Side()
            _call(trial, side, clients)
            rates[clients] = side.per_s[0]
    return max(rates, key=lambda clients: rates[clients])


def _scan(course: Course, phones: Phones, number: int) -> None:
    """Run the phones for a while and record their responses."""
    servers, ids = course.servers, course.servers.base / "answered.txt"
    url = f"http://127.0.0.1:{course.port}/api/v1/qr/scan"
    options = ["-t", "1", "-c", str(CONNECTIONS), "-d", f"{course.seconds}s", "-s", str(SCRIPTS / "scan.lua"), url]
    argv = ["wrk", *options, "--", str(number), str(servers.base / "phones.txt"), str(ids)]
    before = servers.cpu_seconds()
    lines = servers.run("wrk", argv, servers.environment()).splitlines()
    cpu = servers.cpu_seconds() - before
    for line in (line for line in lines if line.startswith("!")):
        say(f"  {line[:300]}")
    with closing(servers.superuser()) as db, db.cursor() as cursor, ids.open() as answered:
        cursor.copy_expert("copy bench.answered from stdin", answered)
    done = json.loads(lines[-1])
    accepted = done["answered"].get("201", 0)
    phones.per_s.append(accepted / done["seconds"])
    phones.cpu_us.append(1e6 * cpu / max(1, accepted))
    phones.p50_ms.append(done["p50_ms"])
    phones.p95_ms.append(done["p95_ms"])
    phones.answers.update(done["answered"] | {"broken": done["broken"]})


def _call(course: Course, single: Side, clients: int) -> None:
    """Run pgbench for a while.

    Only accepted scans count: on a busy machine a scan can wait too long for its campaign's counter and be refused.

    Raises:
        SetupError: no scan was accepted.
    """
    servers, earlier = course.servers, _passed_on(course.servers)
    options = ["-n", "-M", "prepared", "-c", str(clients), "-T", str(course.seconds), "-f", str(SCRIPTS / "scan.sql")]
    variables = {"clients": clients, "fans": course.fans, "i": 0}
    defined = [f"--define={name}={value}" for name, value in variables.items()]
    argv = [str(servers.postgres.bin / "pgbench"), *options, *defined, servers.postgres.dsn("app_scan")]
    before = servers.cpu_seconds()
    said = servers.run("pgbench", argv, servers.environment())
    cpu = servers.cpu_seconds() - before
    calls, accepted = int(_found(r"actually processed: (\d+)", said)), _passed_on(servers) - earlier
    if not accepted:
        fail(f"pgbench made {calls} calls, and no scan was accepted")
    single.refused += calls - accepted
    single.per_s.append(float(_found(r"tps = ([\d.]+)", said)) * accepted / calls)
    single.cpu_us.append(1e6 * cpu / max(1, accepted))


def _passed_on(servers: Bench) -> int:
    """Return the number of accepted scans of pgbench, recognised by their ids."""
    found = "select count(*) from public.qr_scans where decision = 'accepted' and id::text like '%-8001-%'"
    return int(servers.rows(found)[0][0])


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else fail(f"the output of pgbench lacks {pattern}:\n{text}")


def _show(given: argparse.Namespace, phones: Phones, single: Side, clients: int, lost: int, duplicate: int) -> None:
    say(f"Scans over HTTP: {CONNECTIONS} connections, {WEB_PROCESSES} processes; pgbench: {clients} connections")
    say("Relay and workers ran, too" if given.with_workers else "Relay and workers didn't run (--with-workers)")
    waits = [f"{median(phones.p50_ms):.1f}", f"{median(phones.p95_ms):.1f}"]
    table(
        ["", "per s", "in each round", "CPU µs each", "p50 ms", "p95 ms", "lost", "duplicate"],
        [["scans", *_rates(phones), *waits, str(lost), str(duplicate)], ["pgbench", *_rates(single), "", "", "", ""]],
    )
    say(f"  ratio {_ratio(phones, single):.2f}")
    say("  answers " + ", ".join(f"{status}: {count}" for status, count in sorted(phones.answers.items()) if count))


def _rates(side: Side) -> list[str]:
    each = " ".join(f"{rate:.0f}" for rate in side.per_s)
    return [f"{median(side.per_s):.0f}", each, f"{median(side.cpu_us):.0f}"]


def _ratio(phones: Phones, single: Side) -> float:
    """Return the median ratio of neighbouring rounds."""
    return median(scans / calls for scans, calls in zip(phones.per_s, single.per_s, strict=True))


def _numbers(phones: Phones, single: Side, lost: int, duplicate: int) -> dict[str, float]:
    return {
        "ratio_pgbench": round(_ratio(phones, single), 3),
        "scans_per_s": round(median(phones.per_s)),
        "pgbench_per_s": round(median(single.per_s)),
        "cpu_us_per_scan": round(median(phones.cpu_us)),
        "pgbench_cpu_us_per_scan": round(median(single.cpu_us)),
        "p50_ms": round(median(phones.p50_ms), 1),
        "p95_ms": round(median(phones.p95_ms), 1),
        "lost": lost,
        "duplicate": duplicate,
        "accepted": phones.answers["201"],
        "not_accepted": sum(count for status, count in phones.answers.items() if status != "201"),
        "pgbench_refused": single.refused,
        "rounds": len(phones.per_s),
    }
