"""Commands of `./scripts/openapi`."""

import argparse
import sys
from datetime import UTC, datetime

from scripts.commands.openapi import documents, options
from scripts.devstack.progress import SetupError, say
from web.openapi.comparison.operations import compare
from web.openapi.comparison.rules import Change, is_allowed


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    return {"print": _print, "compare": _compare, "release": _release}[given.verb](given)


def _print(given: argparse.Namespace) -> int:
    sys.stdout.write(documents.text(documents.present(given.server)))
    return 0


def _compare(given: argparse.Namespace) -> int:
    old = documents.named(given.old or _latest())
    new = documents.named(given.new) if given.new else documents.present()
    changes = compare(old, new, today=datetime.now(UTC).date())
    breaking = [change for change in changes if change.is_breaking]
    _show("Breaking", breaking)
    _show("Compatible", [change for change in changes if not change.is_breaking])
    versions = old["info"]["version"], new["info"]["version"]
    if breaking and not is_allowed(*versions):
        say(f"✗ {len(breaking)} changes break clients: {versions[1]} does not allow that after {versions[0]}")
        return 1
    say(f"{len(breaking)} breaking and {len(changes) - len(breaking)} compatible changes since {versions[0]}")
    return 0


def _latest() -> str:
    known = documents.releases()
    if not known:
        raise SetupError("No document is kept in docs/openapi: name two documents.")
    return known[-1]


def _show(title: str, changes: list[Change]) -> None:
    if changes:
        say(f"{title}:")
    for change in changes:
        say(f"  {change}")


def _release(given: argparse.Namespace) -> int:
    document = documents.present()
    version = document["info"]["version"]
    if given.version != version:
        raise SetupError(f"The document has version {version}: change VERSION in settings.py first.")
    file = documents.RELEASES / f"{version}.json"
    file.write_text(documents.text(document))
    say(f"Wrote docs/openapi/{file.name}")
    return 0
