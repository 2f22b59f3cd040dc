"""The command line of `./scripts/settings`. It needs no installed packages."""

import argparse
from collections.abc import Sequence

from settings import PROCESSES

EPILOG = """
Without --check, the command prints each variable with its value; of secrets, only whether they are set. With --check it
prints every variable that can't be read, that looks misspelt, or, with ENVIRONMENT=production, that is not fit for
production. Exit status 1: there is one. Run it in the environment of the process, before a deployment.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/settings", description="List or check the settings.")
    made.epilog = " ".join(EPILOG.split())
    made.add_argument("--check", action="store_true", help="print all faults")
    made.add_argument("--process", choices=PROCESSES, help="restrict the output to the variables that it reads")
    return made
