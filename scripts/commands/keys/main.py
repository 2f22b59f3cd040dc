"""`./scripts/keys`: read the keys, change them by one step, and write them back."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from models.core.texts import escape
from scripts.commands.keys import options, seals
from scripts.commands.keys.roots import Roots
from scripts.commands.keys.token_keys import TokenKeys
from scripts.commands.replay.tables import print_lines, table
from scripts.devstack import secrets
from scripts.devstack.processes import write_atomically
from scripts.devstack.progress import fail
from settings import settings

RESTART = "Restart the system to use the new value: ./scripts/down, ./scripts/up"


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    perform(options.parse(argv), int(time.time()))
    return 0


def perform(given: argparse.Namespace, now: int) -> None:
    """Perform one step. With `--env`, standard output has the new value only; hints go to standard error.

    Raises:
        SetupError: the step is impossible, or too early. The message has the reason.
    """
    held = _read(given, now)
    if given.verb == "list":
        print_lines("\n".join(table(("key", "use", "created", "next step"), held.rows())))
        return
    if given.verb == "add":
        hint = held.add()
    else:
        change = held.promote if given.verb == "promote" else held.retire
        hint = change(given.key, force=given.force)
    if given.roots and given.verb == "retire" and not given.abandon_seals:
        seals.require_none(int(given.key), None if given.env else given.var)
    _keep(given, held.text())
    print(escape(hint), file=sys.stderr)


def _read(given: argparse.Namespace, now: int) -> TokenKeys | Roots:
    if given.env:
        auth_jwks, secret_keys = settings.auth_jwks, settings.secret_keys
    else:
        known = _secrets(given.var)
        auth_jwks, secret_keys = known.auth_jwks, known.secret_keys
    return Roots.read(secret_keys) if given.roots else TokenKeys.read(auth_jwks, now)


def _secrets(var: Path) -> secrets.Secrets:
    path = var / "secrets.json"
    return secrets.load_or_make(path) if path.exists() else fail(f"No system in {var}: pass its --var, or --env")


def _keep(given: argparse.Namespace, text: str) -> None:
    if given.env:
        print(text)
        return
    changed = dataclasses.replace(_secrets(given.var), **{"secret_keys" if given.roots else "auth_jwks": text})
    write_atomically(given.var / "secrets.json", json.dumps(dataclasses.asdict(changed), indent=2) + "\n")
    print(RESTART, file=sys.stderr)
