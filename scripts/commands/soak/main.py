"""`./scripts/soak`: run jobs under faults for a chosen time and report the result."""

import argparse
import json
import random

from scripts.commands.bench.report import table
from scripts.commands.soak.run import Plan, Report, run
from scripts.devstack.progress import SetupError, say

RATE = 100
"""Jobs enqueued per second, unless `--minutes` is given."""
GAP = 2.5
"""Mean seconds between two faults."""


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        1 if an effect was lost, happened twice, or happened without an intent; otherwise 0.
    """
    given = parser().parse_args(argv)
    seconds = given.minutes * 60 if given.minutes else given.jobs / RATE
    plan = Plan(given.jobs, seconds, max(1, round(seconds / GAP)), given.seed)
    say(f"{plan.jobs} jobs in {seconds:.0f} s, {plan.faults} faults; --seed {plan.seed} repeats the choices")
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
    say(f"{report.jobs} jobs finished after {report.seconds:.0f} s, {sum(report.faults.values())} faults")
    table(["fault", "times"], [[kind.replace("_", " "), str(times)] for kind, times in report.faults.items()])
    say(f"  vendor: {report.vendor_calls} calls, {report.vendor_acts} acts")
    say(f"  from a fault until the last job that ran at that moment had finished: p95 {report.recovery_p95_s} s")
    columns = ["fault", "job", "attempts", "crashes", "finished after s"]
    table(columns, [[str(cell) for cell in row[: len(columns)]] for row in report.slowest])
    say(f"  lost {report.lost}, duplicate {report.duplicate}, ghost {report.ghost}")
    if not report.is_clean:
        say(f"✗ dead {report.dead}, left {report.left}\n{report.details}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/soak", description="Run jobs under faults and count effects.")
    made.add_argument("--jobs", type=int, default=20000, metavar="N", help="jobs to enqueue, besides their children")
    made.add_argument("--minutes", type=float, metavar="N", help="duration (default: 100 jobs a second)")
    made.add_argument(
        "--seed", type=int, default=random.randrange(10**6), metavar="N", help="repeat the choices of a run"
    )
    made.add_argument("--json", action="store_true", help="print a JSON object on the last line")
    return made
