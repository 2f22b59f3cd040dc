"""The command line of `./scripts/admin`. It needs no installed packages."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
The command works on the system that the environment names (DATABASE_DIRECT_URL, SECRET_KEYS), or else on the one that
runs on this machine. It asks for a password at the terminal, or reads one line from standard input. Each change has an
entry in the audit trail. The first session of a new System Admin enrols an authenticator.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/admin", description="Manage the System Admins.")
    made.epilog = " ".join(EPILOG.split())
    made.add_argument("--var", type=Path, default=ROOT / "var", help="directory of the system on this machine")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{list,create,password,reset-mfa}")
    verbs.add_parser("list", help="list the System Admins and whether each has MFA")
    for verb, text in (("create", "create a System Admin"), ("password", "set another password and end the sessions")):
        added = verbs.add_parser(verb, help=text)
        added.add_argument("email", metavar="EMAIL")
        added.add_argument("--generate", action="store_true", help="generate the password and print it once")
    reset = verbs.add_parser("reset-mfa", help="remove a lost authenticator and its recovery codes")
    reset.add_argument("email", metavar="EMAIL")
    reset.add_argument("--reason", required=True, help="how the identity was checked, for the audit trail")
    return made
