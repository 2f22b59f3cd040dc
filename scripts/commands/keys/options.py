"""The command line of `./scripts/keys`. It needs no installed packages."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT

EPILOG = """
Perform one step at a time and restart every process after each. `add` publishes a new key that signs nothing yet.
`promote` makes it the signing key. `retire` removes the previous key after its last token has expired. The default is
the system on this machine. With --env, the command reads AUTH_JWKS (SECRET_KEYS with --roots) and prints the new value.
The procedure is in docs/auth.md.
"""


_LIKE_AN_OPTION = re.compile(r"-[\w][\w-]+|-[\w-]{42}", re.ASCII)
"""Ids, or prefixes of ids, that argparse would parse as options. Real options are `--word` or `-h`."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. An id may begin with `-`: one in 64 thumbprints does."""
    keys = [word for word in argv if _LIKE_AN_OPTION.fullmatch(word)]
    others = [word for word in argv if word not in keys]
    return parser().parse_args([*others, "--", *keys] if keys else others)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/keys", description="Rotate the token keys or the root secrets.")
    made.epilog = " ".join(EPILOG.split())
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--roots", action="store_true", help="change the root secrets, not the token keys")
    source = common.add_mutually_exclusive_group()
    source.add_argument("--var", type=Path, default=ROOT / "var", help="directory of the system on this machine")
    source.add_argument("--env", action="store_true", help="read the environment and print the new value")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{list,add,promote,retire}")
    verbs.add_parser("list", parents=[common], help="list the keys, their use and the next step of each")
    verbs.add_parser("add", parents=[common], help="publish a new key that is not used yet")
    for verb, text in (("promote", "make a key the one in use"), ("retire", "remove a key that is no longer in use")):
        added = verbs.add_parser(verb, parents=[common], help=text)
        added.add_argument(
            "key", nargs="?", metavar="KEY", help="id or version (default: newest to promote, oldest to retire)"
        )
        added.add_argument("--force", action="store_true", help="skip the waiting time: for a key that has leaked")
    verbs.choices["retire"].add_argument(
        "--abandon-seals", action="store_true", help="retire a root secret even if audit entries are sealed under it"
    )
    return made
