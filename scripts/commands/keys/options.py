"""The command line of `./scripts/keys`. Imports nothing that has to be installed first."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
One step at a time, and a restart of every process after each: `add` publishes a key that signs nothing yet, `promote`
lets it sign, `retire` drops the one before when its last token has expired. The keys are those of the system on this
machine; with --env they are read from AUTH_JWKS (SECRET_KEYS with --roots), and the new value is printed. docs/auth.md
has the whole procedure.
"""


_LIKE_AN_OPTION = re.compile(r"-[\w][\w-]+|-[\w-]{42}", re.ASCII)
"""Ids, or their beginnings, that argparse would take for options. Ours have two dashes, or one and one letter."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. An id may begin with `-`, as one in 64 thumbprints does."""
    keys = [word for word in argv if _LIKE_AN_OPTION.fullmatch(word)]
    others = [word for word in argv if word not in keys]
    return parser().parse_args([*others, "--", *keys] if keys else others)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/keys", description="The keys that sign access tokens, and the roots.")
    made.epilog = " ".join(EPILOG.split())
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--roots", action="store_true", help="the root secrets (SECRET_KEYS) instead of the token keys")
    source = common.add_mutually_exclusive_group()
    source.add_argument("--var", type=Path, default=ROOT / "var", help="where the system on this machine lives")
    source.add_argument("--env", action="store_true", help="read the environment, and print the new value")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{list,add,promote,retire}")
    verbs.add_parser("list", parents=[common], help="which keys there are, and what each of them does")
    verbs.add_parser("add", parents=[common], help="a new one, which is only known yet")
    for verb, said in (("promote", "let it be the one that is used"), ("retire", "drop one that is not used any more")):
        added = verbs.add_parser(verb, parents=[common], help=said)
        added.add_argument(
            "key", nargs="?", metavar="KEY", help="its id or version (default: the one whose turn it is)"
        )
        added.add_argument("--force", action="store_true", help="now, whatever that breaks: for a key that has leaked")
    verbs.choices["retire"].add_argument(
        "--abandon-seals", action="store_true", help="a root that audit entries are sealed under, too"
    )
    return made
