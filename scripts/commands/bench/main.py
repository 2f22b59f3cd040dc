"""`./scripts/bench audit|jobs|logins|requests|rls|scan|segments`: run one benchmark on its own servers."""

import argparse
import json
from collections.abc import Callable

from scripts.commands.bench import audit, jobs, logins, requests, rls, scan, segments
from scripts.commands.bench.report import Numbers
from scripts.devstack.progress import SetupError, say

BENCHMARKS: dict[str, Callable[[argparse.Namespace], Numbers]] = {
    "audit": audit.measure,
    "jobs": jobs.measure,
    "logins": logins.measure,
    "requests": requests.measure,
    "rls": rls.measure,
    "scan": scan.measure,
    "segments": segments.measure,
}
_ARGUMENTS = {
    "audit": audit.add_arguments,
    "jobs": jobs.add_arguments,
    "logins": logins.add_arguments,
    "requests": requests.add_arguments,
    "rls": rls.add_arguments,
    "scan": scan.add_arguments,
    "segments": segments.add_arguments,
}


def main(argv: list[str]) -> int:
    """Run a benchmark. Return 1 if a job, scan or entry was lost or duplicated."""
    given = parser().parse_args(argv)
    try:
        numbers = BENCHMARKS[given.benchmark](given)
    except SetupError as error:
        say(f"✗ {error}")
        return 1
    if given.json:
        say(json.dumps(numbers))
    return 1 if numbers.get("lost") or numbers.get("duplicate") or numbers.get("gaps") else 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/bench", description=main.__doc__)
    kinds = made.add_subparsers(dest="benchmark", required=True)
    for name, describe in _ARGUMENTS.items():
        kind = kinds.add_parser(name, help=BENCHMARKS[name].__doc__)
        kind.add_argument("--json", action="store_true", help="print one flat object on the last line")
        describe(kind)
    return made
