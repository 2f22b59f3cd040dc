"""`bench scan`: scans over HTTP beside `pgbench` calling the same function on the same server, one row a commit.

Phones (wrk) keep their connections open and wait for each answer. `pgbench` passes rows as the web tier makes them, on
as many connections as suit it best; it has no HTTP, JSON or signatures to deal with. They take turns.
"""

import argparse
import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from scripts.benchmarks.report import Numbers, table
from scripts.benchmarks.servers import Bench, bench, python
from scripts.setup import packages, procfile, sockets
from scripts.setup.environment import ROOT
from scripts.setup.progress import fail, say, step

CONNECTIONS, WEB_PROCESSES = 64, 2
FANS = 1000
"""So many that nobody is told to slow down."""
CLIENTS = (8, 16, 32, 64)
"""Of pgbench: whichever is fastest is what we are compared with."""
TRIAL = 1
"""Seconds that each of them is tried, and that the web tier warms up."""
SCRIPTS = ROOT / "scripts" / "benchmarks"

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
        select coalesce(sum(used), 0) as scans from app.scan_counters where scope = 'user'
    )
    select
        (select count(*) from bench.answered where scan_id not in (select id from accepted))
            + (select greatest(0, count(*) - min(scans)) from accepted, counted),
        (select count(*) - count(distinct scan_id) from bench.answered)
            + (select count(*) - count(distinct client_scan_id) from accepted)
            + (select greatest(0, min(scans) - count(*)) from accepted, counted)
"""


@dataclass
class Rounds:
    """What the phones and pgbench have done so far."""

    scans_per_s: list[float] = field(default_factory=list)
    pgbench_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """By status, and `broken` for what had none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="how long each round of each lasts")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each, by turns")
    parser.add_argument("--fans", type=int, default=FANS, metavar="N", help="phones that take turns")
    parser.add_argument("--with-workers", action="store_true", help="let relay and workers score scans meanwhile")


def measure(given: argparse.Namespace) -> Numbers:
    """Scans over HTTP beside pgbench calling the same function."""
    packages.ensure_program("wrk")
    rounds = Rounds()
    with bench() as servers:
        servers.rows(SCHEMA)
        port = sockets.free_port()
        env = servers.environment(
            PORT=str(port), PUBLIC_URL=f"http://127.0.0.1:{port}", WEB_CONCURRENCY=str(WEB_PROCESSES), LOG_LEVEL="INFO"
        )
        _stage(servers, env, given.fans)
        _start(servers, env, with_workers=given.with_workers)
        with step("Warming up, and finding pgbench's best number of connections"):
            _phones(servers, port, 0, TRIAL)
            clients = max(CLIENTS, key=lambda count: _pgbench(servers, count, given.fans, TRIAL))
        for number in range(1, given.rounds + 1):
            _round(servers, rounds, port, number, given, clients)
        servers.end_all()
        lost, duplicate = servers.rows(TALLY)[0]
    _show(given, rounds, clients, int(lost), int(duplicate))
    return _numbers(rounds, int(lost), int(duplicate))


def _stage(servers: Bench, env: dict[str, str], fans: int) -> None:
    with step(f"Making a campaign and {fans} fans"):
        # Nothing is measured yet: don't wait for the disk.
        env = env | {"PGOPTIONS": "-c synchronous_commit=off"}
        host = env["PUBLIC_URL"].removeprefix("http://")
        servers.run("stage", python("scripts.benchmarks.stage", str(fans), host, str(servers.base)), env)
        with closing(servers.superuser()) as db, db.cursor() as cursor, (servers.base / "rows.txt").open() as rows:
            cursor.copy_expert("copy bench.phones from stdin", rows)
        servers.rows("vacuum (analyze)")


def _start(servers: Bench, env: dict[str, str], *, with_workers: bool) -> None:
    commands = procfile.read(ROOT / "Procfile")
    for name in ("web", "relay", "worker") if with_workers else ("web",):
        servers.spawn(name, procfile.argv(commands[name]), env)
    with step("Starting gunicorn"):
        servers.until_answers(env["PUBLIC_URL"] + "/readyz")


def _round(servers: Bench, rounds: Rounds, port: int, number: int, given: argparse.Namespace, clients: int) -> None:
    done = _phones(servers, port, number, given.seconds)
    rounds.answers.update(done["answered"] | {"broken": done["broken"]})
    rounds.scans_per_s.append(done["answered"].get("201", 0) / done["seconds"])
    rounds.p50_ms.append(done["p50_ms"])
    rounds.p95_ms.append(done["p95_ms"])
    rounds.pgbench_per_s.append(_pgbench(servers, clients, given.fans, given.seconds))
    say(f"  Round {number}: {rounds.scans_per_s[-1]:.0f} scans/s, pgbench {rounds.pgbench_per_s[-1]:.0f} calls/s")


def _phones(servers: Bench, port: int, number: int, seconds: int) -> dict[str, Any]:
    """Have phones scan for a while; what they were answered."""
    ids = servers.base / "answered.txt"
    url = f"http://127.0.0.1:{port}/api/v1/qr/scan"
    options = ["-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-s", str(SCRIPTS / "scan.lua"), url, "--"]
    argv = ["wrk", *options, str(number), str(servers.base / "phones.txt"), str(ids)]
    lines = servers.run("wrk", argv, servers.environment()).splitlines()
    for line in lines:
        if line.startswith("!"):
            say(f"  {line[:300]}")
    with closing(servers.superuser()) as db, db.cursor() as cursor, ids.open() as answered:
        cursor.copy_expert("copy bench.answered from stdin", answered)
    done: dict[str, Any] = json.loads(lines[-1])
    return done


def _pgbench(servers: Bench, clients: int, fans: int, seconds: int) -> float:
    """Have pgbench call the function for a while; calls per second.

    Raises:
        SetupError: the function refused some of them.
    """
    before = _passed_on(servers)
    options = ["-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", str(SCRIPTS / "scan.sql")]
    variables = [f"--define={name}={value}" for name, value in {"clients": clients, "fans": fans, "i": 0}.items()]
    argv = [str(servers.postgres.bin / "pgbench"), *options, *variables, servers.postgres.dsn("app_scan")]
    said = servers.run("pgbench", argv, servers.environment())
    calls = int(_found(r"actually processed: (\d+)", said))
    if (accepted := _passed_on(servers) - before) != calls:
        fail(f"pgbench made {calls} calls, and {accepted} scans were accepted")
    return float(_found(r"tps = ([\d.]+)", said))


def _passed_on(servers: Bench) -> int:
    """Scans of pgbench's that were accepted: their ids are like no others."""
    found = "select count(*) from public.qr_scans where decision = 'accepted' and id::text like '%-8001-%'"
    return int(servers.rows(found)[0][0])


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else fail(f"pgbench didn't say {pattern}:\n{text}")


def _show(given: argparse.Namespace, rounds: Rounds, clients: int, lost: int, duplicate: int) -> None:
    say(f"Scans over HTTP: {CONNECTIONS} connections, {WEB_PROCESSES} processes; pgbench: {clients} connections")
    say("Relay and workers ran, too" if given.with_workers else "Relay and workers didn't run (--with-workers)")
    table(
        ["", "per s", "in each round", "p50 ms", "p95 ms", "lost", "duplicate"],
        [
            [
                "scans",
                *_rates(rounds.scans_per_s),
                f"{median(rounds.p50_ms):.1f}",
                f"{median(rounds.p95_ms):.1f}",
                str(lost),
                str(duplicate),
            ],
            ["pgbench", *_rates(rounds.pgbench_per_s), "", "", "", ""],
        ],
    )
    say(f"  ratio {_ratio(rounds):.2f}")
    say("  answers " + ", ".join(f"{status}: {count}" for status, count in sorted(rounds.answers.items()) if count))


def _rates(rates: list[float]) -> list[str]:
    return [f"{median(rates):.0f}", " ".join(f"{rate:.0f}" for rate in rates)]


def _ratio(rounds: Rounds) -> float:
    return median(rounds.scans_per_s) / median(rounds.pgbench_per_s)


def _numbers(rounds: Rounds, lost: int, duplicate: int) -> dict[str, float]:
    refused = sum(count for status, count in rounds.answers.items() if status != "201")
    return {
        "ratio_pgbench": round(_ratio(rounds), 3),
        "scans_per_s": round(median(rounds.scans_per_s)),
        "pgbench_per_s": round(median(rounds.pgbench_per_s)),
        "p50_ms": round(median(rounds.p50_ms), 1),
        "p95_ms": round(median(rounds.p95_ms), 1),
        "lost": lost,
        "duplicate": duplicate,
        "accepted": rounds.answers["201"],
        "not_accepted": refused,
        "rounds": len(rounds.scans_per_s),
    }
