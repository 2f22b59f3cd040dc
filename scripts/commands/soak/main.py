"""`./scripts/soak`: the chaos suite for as long as you like, and what came of it."""

import argparse
import json
import random

from scripts.commands.bench.report import table
from scripts.commands.soak.run import Plan, Report, run
from scripts.devstack.progress import SetupError, say

RATE = 100
"""Jobs asked for per second, unless `--minutes` says otherwise."""
GAP = 2.5
"""Seconds between two faults."""


def main(argv: list[str]) -> int:
    """Run the command; 1 when anything was lost, happened twice, or happened that nobody asked for."""
    given = parser().parse_args(argv)
    seconds = given.minutes * 60 if given.minutes else given.jobs / RATE
    plan = Plan(given.jobs, seconds, max(1, round(seconds / GAP)), given.seed)
    say(f"{plan.jobs} jobs in {seconds:.0f} s, {plan.faults} faults; --seed {plan.seed} chooses the same again")
    try:
        report = run(plan)
    except SetupError as error:
        say(f"✗ {error}")
        return 1
    show(report)
    if given.json:
        say(json.dumps(report.numbers()))
    return 0 if report.is_clean else 1


def show(report: Report) -> None:
    """Print the summary."""
    say(f"{report.jobs} jobs over after {report.seconds:.0f} s, {sum(report.faults.values())} faults")
    table(["fault", "times"], [[kind.replace("_", " "), str(times)] for kind, times in report.faults.items()])
    say(f"  outside: {report.outside_calls} calls, {report.outside_acts} acts")
    say(f"  from a fault until the last job that ran at that moment was over: p95 {report.recovery_p95_s} s")
    columns = ["fault", "job", "attempts", "crashes", "over after s"]
    table(columns, [[str(cell) for cell in row[: len(columns)]] for row in report.slowest])
    say(f"  lost {report.lost}, duplicate {report.duplicate}, ghost {report.ghost}")
    if not report.is_clean:
        say(f"✗ dead {report.dead}, left {report.left}\n{report.details}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/soak", description="Put the job engine under faults and count.")
    made.add_argument("--jobs", type=int, default=20000, metavar="N", help="jobs to ask for, besides their children")
    made.add_argument("--minutes", type=float, metavar="N", help="over how long (default: 100 jobs a second)")
    made.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="N", help="for the same choices")
    made.add_argument("--json", action="store_true", help="print one object on the last line")
    return made
