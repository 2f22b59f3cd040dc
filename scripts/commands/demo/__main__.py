"""`python -m scripts.commands.demo`: play the demonstration against the running system that COMPANON_RUN describes."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.commands.demo import crowd, report, stage
from scripts.commands.demo.http import GaveUp
from scripts.commands.demo.street import Street
from scripts.commands.demo.watch import Watch, follow
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import say

RUN = "COMPANON_RUN"
INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Play it; 0 if every number agrees."""
    given = parser().parse_args(argv)
    try:
        return 0 if play(read_run(given.run), given) else 1
    except GaveUp as error:
        say(f"✗ The demonstration gave up: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.commands.demo", description="A crowd of phones against the API."
    )
    made.add_argument("--phones", type=_count, default=500, help="how many (default: 500)")
    made.add_argument("--seed", type=int, default=2026, help="who comes, and where they stand (default: 2026)")
    made.add_argument("--seconds", type=float, default=10.0, help="within which they come (default: 10)")
    made.add_argument("--limit", type=float, default=120.0, help="seconds that all of it may take (default: 120)")
    made.add_argument("--still", type=float, default=15.0, help="seconds without change that end it (default: 15)")
    made.add_argument("--run", type=Path, default=os.environ.get(RUN, ROOT / "var" / "run.json"), help="its run.json")
    return made


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def read_run(path: Path) -> dict[str, Any]:
    """What the running system says about itself.

    Raises:
        GaveUp: none runs there.
    """
    try:
        run: dict[str, Any] = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise GaveUp(f"there is no {path}: start the system with ./scripts/up") from None
    return run


def play(run: Mapping[str, Any], given: argparse.Namespace) -> bool:
    """From the first sign-in to the last number; whether the numbers agree.

    Raises:
        GaveUp: it can't be played to its end; says why.
    """
    until = time.monotonic() + given.limit
    gathered = crowd.gather(given.phones, given.seed, given.seconds)
    built = stage.build(run, until)
    street, watch = Street(run["api"], built.codes, gathered, until), Watch(built.admin, given.still)
    say(f"  {given.phones} phones come within {given.seconds:g} s (seed {given.seed})")
    street.open()
    watch.open()
    try:
        follow(street, watch, given.phones, until)
    finally:
        street.close()
        watch.close()
    agreed = report.show(run, built, gathered, street.tally, watch.overview)
    report.farewell(run, built)
    return agreed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
