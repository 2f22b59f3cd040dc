"""The command line of `./scripts/audit`, known before anything is installed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
What is verified here is the system that the environment names, or else the one that runs on this machine. An exported
file is verified anywhere: entries need the keys of `keys --mac`, checkpoints and the file's own head those of `keys`.
The exit status is 1 when anything is not as it was sealed.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/audit", description="The audit trail: whether it is what was sealed.")
    made.epilog = EPILOG.strip()
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{verify,export,checkpoint,keys,versions}")
    verify = verbs.add_parser("verify", help="find what was changed, removed, reordered, inserted or cut off")
    verify.add_argument("file", nargs="?", type=Path, help="an exported file (default: the database)")
    verify.add_argument("--checkpoints", metavar="URL", help="a folder, or a URL (default: the system's own)")
    verify.add_argument("--public-keys", type=Path, metavar="FILE", help="of `keys` (default: the system's own)")
    verify.add_argument("--mac-keys", type=Path, metavar="FILE", help="of `keys --mac` (default: the system's own)")
    verify.add_argument(
        "--without-mac-keys", action="store_true", help="compare with the checkpoints only: changes are not found"
    )
    verify.add_argument("--json", action="store_true", help="print one object")
    export = verbs.add_parser("export", help="write sealed entries, as they are verified, to a file")
    export.add_argument("file", type=Path, help="which must not exist")
    export.add_argument("--brand", metavar="ID", help="one brand's chain (default: all), or `platform`")
    verbs.add_parser("checkpoint", help="make a checkpoint now, and store it")
    keys = verbs.add_parser("keys", help="print the public keys that verify checkpoints")
    keys.add_argument("--mac", action="store_true", help="the secret keys that verify entries instead")
    verbs.add_parser("versions", help="how many entries are sealed under each version of the root secrets")
    for verb in verbs.choices.values():
        verb.add_argument("--var", type=Path, default=ROOT / "var", help="where a system of this machine lives")
    return made
