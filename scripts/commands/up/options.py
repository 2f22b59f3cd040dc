"""Command line of `./scripts/up`, parsed before anything is installed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/up", description="Start the whole system on this machine.")
    made.add_argument("--demo", action="store_true", help="run 500 phones against the API and compare the results")
    made.add_argument("--detach", action="store_true", help="return when the system is ready; ./scripts/down stops it")
    made.add_argument("--fresh", action="store_true", help="delete the data of an earlier system in --var first")
    made.add_argument("--reload", action="store_true", help="restart processes when their code changes")
    made.add_argument("--port", type=int, help="the API's port (default: 8000, or a free one if that is taken)")
    made.add_argument("--procfile", type=Path, default=ROOT / "Procfile", help="the processes to run")
    made.add_argument("--var", type=Path, default=ROOT / "var", help="directory of data, logs and sockets")
    return made
