"""Commands of `./scripts/audit`, in the environment of the chosen system."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee

from jobs.audit import maintenance
from jobs.audit.stores.base import CheckpointConflict
from jobs.audit.stores.by_url import store_at
from models.audit import chain, checkpoints, retention
from models.core import context
from models.core.database import FLUSH, now, transaction
from scripts.commands.audit import export, keys, options, sources
from scripts.commands.audit.verification import Verification
from scripts.devstack.progress import SetupError, say
from settings import settings


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    try:
        return COMMANDS[given.verb](given)
    except (SetupError, OSError, CheckpointConflict, peewee.DatabaseError, RuntimeError) as error:
        say(f"✗ {str(error).strip()}")
        return 1


def _verify(given: argparse.Namespace) -> int:
    verification = Verification(None if given.without_mac_keys else keys.key_lookup(given.mac_keys))
    public = keys.public_keys(given.public_keys)
    store = store_at(_url(given.checkpoints) if given.checkpoints else settings.audit_checkpoint_url)
    checked = sources.check_checkpoints(verification, store, public)
    notes = []
    if given.file:
        export.verify(verification, given.file, public)
        # Checkpoints name the chains of all brands; a file may hold one of them.
        verification.chains = {id: part for id, part in verification.chains.items() if export.contains(part)}
    else:
        notes = _verify_database(verification, checked)
    faults = verification.faults()
    erased = [f"{verification.erased:,} personal values have been erased"] if verification.erased else []
    notes = verification.start_notes() + notes + erased
    result = verification.summary(faults) | {"checkpoints": checked, "notes": notes}
    if given.json:
        say(json.dumps(result, indent=2))
    else:
        _show(result, [fault.text for fault in faults])
    return 1 if faults else 0


def _url(text: str) -> str:
    """Return a URL unchanged, and a path, relative to the working directory, as a `file:` URL."""
    return text if "://" in text or text.startswith("file:") else f"file://{Path(text).resolve()}"


def _verify_database(verification: Verification, checked: int) -> list[str]:
    """Verify all chains of the database. Return notes for the operator."""
    with transaction(context.for_system_job()):
        heads, stored = checkpoints.heads(), checkpoints.last_stored_number()
        unsealed = checkpoints.gauges().unsealed
        chains = set(chain.sealed_chains())
    verification.add_heads(heads, "the database")
    for chain_id in dict.fromkeys([*heads, *chains, *verification.chains]):
        start = verification.chain(chain_id).latest_start
        for entry in sources.entries_of(chain_id, after=start.seq):
            verification.check(entry)
        sources.check_undeleted(verification, chain_id, start)
    notes = [f"{unsealed:,} entries have no seal yet"] if unsealed else []
    if checked < stored:
        verification.report_missing_checkpoints(checked, stored)
    elif not checked:
        notes.append("There is no checkpoint: entries cut off at the end of a chain with its head can't be found")
    return notes


def _show(result: dict[str, Any], faults: list[str]) -> None:
    for fault in faults:
        say(f"✗ {fault}")
    for note in result["notes"]:
        say(f"  {note}")
    counted = f"{result['entries']:,} entries in {result['chains']:,} chains, {result['checkpoints']:,} checkpoints"
    say(f"{counted}: {'intact' if result['intact'] else f'{len(faults):,} faults'}")


def _export(given: argparse.Namespace) -> int:
    with transaction(context.for_system_job(), closing=FLUSH):
        heads = checkpoints.heads([_chain_id(given.brand)] if given.brand else None)
        starts = retention.chain_starts()
    try:
        count = export.write(given.file, heads, starts, now())
    except FileExistsError:
        raise SetupError(f"{given.file} exists") from None
    say(f"{count:,} entries of {len(heads):,} chains are in {given.file}")
    return 0


def _chain_id(brand: str) -> UUID:
    try:
        return chain.PLATFORM if brand == "platform" else UUID(brand)
    except ValueError:
        raise SetupError(f"{brand!r} is neither the id of a brand nor `platform`") from None


def _checkpoint(_given: argparse.Namespace) -> int:
    with transaction(context.for_sealer()):
        checkpoints.create(min_age=checkpoints.MIN_INTERVAL * 0)
    for number in maintenance.store_pending(settings.audit_checkpoint_url):
        say(f"Checkpoint {number} is stored")
    return 0


def _keys(given: argparse.Namespace) -> int:
    say(json.dumps(keys.mac_keys() if given.mac else checkpoints.public_key_set(), indent=2))
    return 0


def _versions(_given: argparse.Namespace) -> int:
    with transaction(context.for_system_job()):
        say(json.dumps(chain.entries_by_version()))
    return 0


COMMANDS = {
    "verify": _verify,
    "export": _export,
    "checkpoint": _checkpoint,
    "keys": _keys,
    "versions": _versions,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
