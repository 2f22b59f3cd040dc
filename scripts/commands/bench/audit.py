"""`bench audit`: cost of an audit entry for its transaction, and delay and rate of appending entries to the chain.

The cost compares transactions of two writes with and without an entry, alternating. The chain is written by the real
seal process for one tenant's entries, while 32 writers commit 1,000 of them per second. PostgreSQL supplies commit
times.
"""

import argparse
import json
import time

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, bench, python
from scripts.devstack.progress import say, step

RATE, WRITERS = 1_000, 32
STALLED = 15.0
"""Seconds without a new sealed entry after which the rest counts as lost."""

SCHEMA = """
    create schema bench;
    create table bench.things (id uuid primary key, name text not null, number int not null);
    create table bench.counts (id int primary key, things int not null) with (fillfactor = 50);
    insert into bench.counts values (1, 0);
    grant usage on schema bench to authenticated;
    grant insert on bench.things to authenticated;
    grant select, update on bench.counts to authenticated;
"""
BACKLOG = """
    insert into public.audit_logs (id, action, table_name, record_id, details, brand_id, actor_role, outcome,
        request_id)
    select gen_random_uuid(), 'bench.act', 'things', gen_random_uuid(),
        '{"before": {"status": "Draft", "number": 1}, "after": {"status": "Active", "number": 2}}', %s, 'Brand Admin',
        'ok', gen_random_uuid()::text from generate_series(1, %s)
"""
# From the writing of an entry, within its transaction, to the commit of its seal.
LAG = """
    select percentile_cont(array[0.5, 0.95]) within group (
        order by 1000 * extract(epoch from pg_xact_commit_timestamp(xmin) - timestamp)::float8)
    from public.audit_logs where brand_id = %s and seq > %s
"""
LEFT = "select count(*) from public.audit_logs where seq is null"
# Sequence numbers of the chain that are missing or duplicate.
GAPS = """
    select (max(seq) - count(*)) + (count(*) - count(distinct seq)) + count(*) filter (where seq is null)
    from public.audit_logs where brand_id = %s
"""
BRAND_ID = "00000000-0000-0000-0000-000000000007"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--pairs", type=int, default=400, metavar="N", help="pairs of transactions per round")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of rounds")
    parser.add_argument("--backlog", type=int, default=20_000, metavar="N", help="entries sealed at full speed")
    parser.add_argument("--seconds", type=int, default=8, metavar="N", help="duration of the steady rate")


def measure(given: argparse.Namespace) -> Numbers:
    """Cost of an audit entry, and rate and delay of sealing entries."""
    with bench() as servers:
        servers.rows(SCHEMA)
        plain, audited = _costs(servers, given)
        per_s = _full_speed(servers, given.backlog)
        numbers = _steady(servers, given.seconds)
    numbers |= {"audit_cost": round(audited / plain - 1, 3), "plain_us": round(plain), "audited_us": round(audited)}
    numbers |= {"seal_per_s": round(per_s), "lost": 0, "duplicate": 0}
    _show(numbers)
    return numbers


def _costs(servers: Bench, given: argparse.Namespace) -> tuple[float, float]:
    """Return the median time in µs of transactions without and with an entry, of the round with the median ratio."""
    found = []
    with step(f"{given.rounds} × {given.pairs} writes without and with an entry"):
        for _ in range(given.rounds):
            found.append(_writers(servers, "cost", given.pairs))
            # The seal process doesn't run: both kinds must find tables without dead rows of the other.
            servers.rows("vacuum (analyze) public.audit_logs, bench.counts")
    best = sorted(found, key=lambda one: one["audited_us"] / one["plain_us"])[len(found) // 2]
    return best["plain_us"], best["audited_us"]


def _full_speed(servers: Bench, count: int) -> float:
    """Seal `count` existing entries of one tenant. Return entries per second, from the first seal to the last."""
    with step(f"Sealing {count} entries at full speed"):
        servers.rows(BACKLOG, [BRAND_ID, count])
        started = servers.rows("select clock_timestamp()")[0][0]
        _start(servers)
        _await_seals(servers)
        servers.end_all()
        rate = servers.rows(
            "select count(*) / extract(epoch from max(pg_xact_commit_timestamp(xmin)) - min(sealed_at))::float8"
            " from public.audit_logs where sealed_at > %s",
            [started],
        )
    return float(rate[0][0])


def _steady(servers: Bench, seconds: int) -> dict[str, float]:
    """Measure the delay of sealing while one tenant's 32 writers commit 1,000 entries per second."""
    with step(f"{RATE} entries/s by {WRITERS} writers for {seconds} s"):
        _start(servers)
        _writers(servers, "paced", RATE, RATE, WRITERS)  # The first entries open the connections.
        _await_seals(servers)
        since = servers.rows("select max(seq) from public.audit_logs where brand_id = %s", [BRAND_ID])[0][0]
        wrote = _writers(servers, "paced", RATE * seconds, RATE, WRITERS)
        _await_seals(servers)
        servers.end_all()
    p50, p95 = servers.rows(LAG, [BRAND_ID, since])[0][0]
    return {
        "seal_lag_p50_ms": round(p50, 1),
        "seal_lag_p95_ms": round(p95, 1),
        "written_per_s": round(wrote["per_s"]),
        "gaps": servers.rows(GAPS, [BRAND_ID])[0][0],
        "unsealed": servers.rows(LEFT)[0][0],
    }


def _start(servers: Bench) -> None:
    """Start the seal process."""
    env = servers.environment(AUDIT_CHECKPOINT_URL=f"file://{servers.base / 'checkpoints'}")
    servers.spawn("seal", python("jobs.audit.seal"), env)


def _writers(servers: Bench, *arguments: object) -> dict[str, float]:
    words = python("scripts.commands.bench.auditors", *map(str, arguments))
    found: dict[str, float] = json.loads(servers.run("auditors", words, servers.environment()))
    return found


def _await_seals(servers: Bench) -> None:
    """Wait until every entry is sealed, or none has been sealed for `STALLED` seconds."""
    left, since = None, time.monotonic()
    while left != 0 and time.monotonic() - since < STALLED:
        time.sleep(0.1)
        now = servers.rows(LEFT)[0][0]
        if now != left:
            left, since = now, time.monotonic()


def _show(numbers: Numbers) -> None:
    say("Cost of an audit entry, and rate and delay of sealing")
    names = ("audit_cost", "plain_us", "audited_us", "seal_per_s", "seal_lag_p50_ms", "seal_lag_p95_ms", "gaps")
    table(names, [[f"{numbers[name]:g}" for name in names]])
