"""The command line of `./scripts/audit`. It needs no installed packages."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
Commands work on the system that the environment names, or else on the one that runs on this machine. An exported file
can be verified on any machine: entries need the keys of `keys --mac`, checkpoints and the file's first line those of
`keys`. The exit status is 1 if anything differs from the sealed chain.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/audit", description="Verify and export the audit trail.")
    made.epilog = EPILOG.strip()
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{verify,export,checkpoint,keys,versions}")
    verify = verbs.add_parser("verify", help="find changed, removed, reordered, inserted and cut-off entries")
    verify.add_argument("file", nargs="?", type=Path, help="an exported file (default: the database)")
    verify.add_argument("--checkpoints", metavar="URL", help="a folder, or a URL (default: the system's own)")
    verify.add_argument("--public-keys", type=Path, metavar="FILE", help="output of `keys` (default: the system's own)")
    verify.add_argument(
        "--mac-keys", type=Path, metavar="FILE", help="output of `keys --mac` (default: the system's own)"
    )
    verify.add_argument(
        "--without-mac-keys", action="store_true", help="check positions and checkpoints only, not contents"
    )
    verify.add_argument("--json", action="store_true", help="print one object")
    export = verbs.add_parser("export", help="write sealed entries to a file that can be verified")
    export.add_argument("file", type=Path, help="a file that does not exist")
    export.add_argument("--brand", metavar="ID", help="one brand's chain (default: all), or `platform`")
    verbs.add_parser("checkpoint", help="create a checkpoint now and store it")
    keys = verbs.add_parser("keys", help="print the public keys that verify checkpoints")
    keys.add_argument("--mac", action="store_true", help="print the secret keys that verify entries instead")
    verbs.add_parser("versions", help="print the number of sealed entries by version of the root secret")
    for verb in verbs.choices.values():
        verb.add_argument("--var", type=Path, default=ROOT / "var", help="folder of a system on this machine")
    return made
