"""`./scripts/bench scan|jobs`: run one benchmark on servers of its own, and print what came of it."""

import argparse
import json
from collections.abc import Callable

from scripts.benchmarks import jobs, scan
from scripts.benchmarks.report import Numbers
from scripts.setup.progress import SetupError, say

BENCHMARKS: dict[str, Callable[[argparse.Namespace], Numbers]] = {"jobs": jobs.measure, "scan": scan.measure}


def main(argv: list[str]) -> int:
    """Run the command; return its exit status: 1 when something was lost or happened twice."""
    given = parser().parse_args(argv)
    try:
        numbers = BENCHMARKS[given.benchmark](given)
    except SetupError as error:
        say(f"✗ {error}")
        return 1
    if given.json:
        say(json.dumps(numbers))
    return 1 if numbers["lost"] or numbers["duplicate"] else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/bench", description=main.__doc__)
    kinds = made.add_subparsers(dest="benchmark", required=True)
    for name, describe in {"jobs": jobs.add_arguments, "scan": scan.add_arguments}.items():
        kind = kinds.add_parser(name, help=BENCHMARKS[name].__doc__)
        kind.add_argument("--json", action="store_true", help="print one flat object on the last line")
        describe(kind)
    return made
