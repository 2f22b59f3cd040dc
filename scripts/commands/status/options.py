"""Command line of `./scripts/status`, parsed before anything is installed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
Exit status 0 if everything is well, 1 otherwise. The counts of jobs come from /metrics, which another machine may read
only with a token: set METRICS_TOKEN.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/status", description="Show the state of a running system.")
    made.epilog = EPILOG.strip()
    made.add_argument("--api", help="URL of the API (default: the system on this machine)")
    made.add_argument("--run", type=Path, default=ROOT / "var" / "run.json", help="state file of a local system")
    return made
