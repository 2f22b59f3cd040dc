"""Command line of `./scripts/token`, parsed before anything is installed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
The first call for a role creates an account through the API and the mail server of ./scripts/up; later calls sign in
again. Creator, Campaign Manager and Brand Admin belong to one brand, "Local brand". Only the token goes to standard
output, so that a shell can use it: curl -H "Authorization: Bearer $(./scripts/token)" …
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/token", description="Print an access token for the local system.")
    made.epilog = EPILOG.strip()
    made.add_argument(
        "--as",
        dest="who",
        metavar="WHO",
        default="brand-admin",
        help="fan, creator, campaign-manager, brand-admin (default), system-admin, or an e-mail address",
    )
    made.add_argument("--run", type=Path, default=ROOT / "var" / "run.json", help="state file of the local system")
    return made
