"""The command line of `./scripts/openapi`. It needs no installed packages."""

import argparse
from collections.abc import Sequence

EPILOG = """
A document is given as a version (0.2.0, of docs/openapi), a file, or the URL of a running server. `compare` without
arguments compares the latest release with this checkout. It prints every change and fails if one breaks clients, unless
the version allows it. The rules are in docs/versioning.md.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/openapi", description="Print, compare and keep OpenAPI documents.")
    made.epilog = " ".join(EPILOG.split())
    verbs = made.add_subparsers(dest="verb", required=True, metavar="{print,compare,release}")
    printed = verbs.add_parser("print", help="print the document of this checkout as JSON")
    printed.add_argument("--server", default="/", help="URL in `servers`; the default is relative to the document")
    compared = verbs.add_parser("compare", help="list the changes between two documents")
    compared.add_argument("old", nargs="?", metavar="OLD", help="the latest release by default")
    compared.add_argument("new", nargs="?", metavar="NEW", help="the document of this checkout by default")
    kept = verbs.add_parser("release", help="write docs/openapi/VERSION.json from this checkout")
    kept.add_argument("version", metavar="VERSION", help="the version that the document has, as a confirmation")
    return made
