"""The command line of `./scripts/up`, known before anything is installed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/up", description="Start the whole system on this machine.")
    made.add_argument("--demo", action="store_true", help="then drive it as outside clients would, and show numbers")
    made.add_argument("--detach", action="store_true", help="return when it is ready; ./scripts/down ends it")
    made.add_argument("--port", type=int, help="the API's port (default: 8000, or a free one if that is taken)")
    made.add_argument("--procfile", type=Path, default=ROOT / "Procfile", help="what runs beside the servers")
    made.add_argument("--var", type=Path, default=ROOT / "var", help="where its data, logs and sockets go")
    return made
