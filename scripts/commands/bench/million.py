"""Times of the ledger's functions and of the console's queries beside a million finished jobs."""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, python
from scripts.devstack.progress import say, step

FILL = Path(__file__).with_suffix(".sql")
CALLS = 200
DEAD_IN = 500
"""Finished jobs for each dead letter."""
TAKEN_BY_CALL = 64
"""Waiting jobs needed for each call, so that the last call still finds some."""

TELL_PLANS = """
    alter database companon set session_preload_libraries = 'auto_explain';
    alter database companon set auto_explain.log_min_duration = 0;
    alter database companon set auto_explain.log_nested_statements = on;
    alter database companon set auto_explain.log_analyze = on;
    alter database companon set auto_explain.log_buffers = on;
    alter database companon set auto_explain.log_timing = off;
    alter database companon set client_min_messages = log;
"""
"""Settings that print the plan of every statement within functions, for new connections."""

Found = dict[str, dict[str, Any]]
"""Results by name of the call: `kind`, `p50` and `p95` in ms, `scans` of big tables, and `plans`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--million", type=int, default=1_000_000, metavar="N", help="finished jobs in a full ledger")
    parser.add_argument("--rows", type=int, default=100_000, metavar="N", help="waiting jobs in it")
    parser.add_argument("--plans", action="store_true", help="print the plan of each call")


def measure(servers: Bench, finished: int, waiting: int, *, plans: bool) -> Numbers:
    """Fill a ledger, and time the calls of the engine and the console. `plans` prints their plans."""
    with step(f"{finished} finished jobs, {waiting} that wait"):
        _fill(servers, finished, waiting)
    with step("Calls of the engine and of the console"):
        timed = _calls(servers, "times", max(2, min(CALLS, waiting // TAKEN_BY_CALL)))
        servers.rows(TELL_PLANS)
        planned = _calls(servers, "plans", 1)
        servers.rows("alter database companon reset all")
    found = {name: {**one, **planned[name]} for name, one in timed.items()}
    _show(found, plans=plans)
    ((counting,),) = servers.rows("select 1000 * extract(epoch from took)::float8 from app.job_counts")
    say(f"  The clock counted the jobs for their metrics in {counting:.0f} ms.")
    claim = found["publish_due"]["p95"] + found["claim"]["p95"]
    worst = {
        f"{kind}_ms_at_1m": round(max(one["p95"] for one in found.values() if one["kind"] == kind), 2)
        for kind in ("console", "search", "metrics")
    }
    return {"claim_ms_at_1m": round(claim, 2), **worst}


def _fill(servers: Bench, finished: int, waiting: int) -> None:
    sizes = {"finished": finished, "waiting": waiting, "dead": finished // DEAD_IN}
    servers.rows("truncate app.jobs, app.job_history, app.dead_jobs, app.job_keys")
    servers.rows(FILL.read_text().format(**sizes))
    for name in ("job_history", "dead_jobs", "jobs"):
        servers.rows(f"vacuum (analyze) app.{name}")
    servers.rows("checkpoint")


def _calls(servers: Bench, what: str, count: int) -> Found:
    found: Found = json.loads(
        servers.run(what, python("scripts.commands.bench.million_calls", what, str(count)), servers.environment())
    )
    return found


def _show(found: Found, *, plans: bool) -> None:
    say("Calls beside finished and waiting jobs, in ms")
    rows = [[name, f"{one['p50']:.2f}", f"{one['p95']:.2f}", ", ".join(one["scans"])] for name, one in found.items()]
    table(["", "p50", "p95", "by"], rows)
    for name, one in found.items() if plans else ():
        say(f"\n{name}\n")
        say("\n\n".join(one["plans"]))
