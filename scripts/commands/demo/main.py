"""`./scripts/demo`: run the demonstration against the running system that COMPANON_RUN describes."""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.commands.demo import brand_setup, campaign_types, plan, report
from scripts.commands.demo.http_client import DemoFailed
from scripts.commands.demo.overview_poller import OverviewPoller, wait_until_settled
from scripts.commands.demo.phone_runner import PhoneRunner
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import say

RUN = "COMPANON_RUN"
INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Run the demonstration. Return 0 if all numbers agree."""
    options = parser().parse_args(argv)
    try:
        return 0 if run_demo(read_run(options.run), options) else 1
    except DemoFailed as error:
        say(f"✗ The demonstration failed: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/demo", description="Simulate phones that scan codes over the API.")
    made.add_argument("--phones", type=_count, default=500, help="number of phones (default: 500)")
    made.add_argument("--seed", type=int, default=2026, help="seed of the plan (default: 2026)")
    made.add_argument("--seconds", type=float, default=10.0, help="seconds within which phones start (default: 10)")
    made.add_argument("--limit", type=float, default=120.0, help="longest duration in seconds (default: 120)")
    made.add_argument("--still", type=float, default=15.0, help="seconds without change that end the run (default: 15)")
    made.add_argument("--run", type=Path, default=os.environ.get(RUN, ROOT / "var" / "run.json"), help="its run file")
    return made


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def read_run(path: Path) -> dict[str, Any]:
    """Read the description of the running system.

    Raises:
        DemoFailed: no system is running there.
    """
    try:
        run: dict[str, Any] = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise DemoFailed(f"{path} does not exist: start the system with ./scripts/up") from None
    return run


def run_demo(run: Mapping[str, Any], options: argparse.Namespace) -> bool:
    """Create the brand, run the phones, and compare the numbers. Return whether they agree.

    Raises:
        DemoFailed: the demonstration could not be completed.
    """
    until = time.monotonic() + options.limit
    planned = plan.make(options.phones, options.seed, options.seconds)
    brand = brand_setup.create(run, until)
    runner = PhoneRunner(run["api"], brand.codes, planned, until)
    poller = OverviewPoller(brand.admin, options.still)
    say(f"  {options.phones} phones start within {options.seconds:g} s (seed {options.seed})")
    runner.start()
    poller.start()
    try:
        wait_until_settled(runner, poller, options.phones, until)
    finally:
        runner.stop()
        poller.stop()
    types = campaign_types.run(run, brand.admin, until)
    agreed = report.show(run, brand, planned, runner.results, poller.overview, types)
    report.show_links(run, brand)
    return agreed
