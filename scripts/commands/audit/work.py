"""The commands of `./scripts/audit`, in the environment of the system that is meant."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee

from jobs.audit import upkeep
from jobs.audit.checkpoint_stores import CheckpointConflict, store_at
from models.audit import chain as seals
from models.audit import checkpoints, retention
from models.core import context
from models.core.database import FLUSH, now, transaction, value
from scripts.commands.audit import options, papers
from scripts.commands.audit.walk import Walk
from scripts.devstack.progress import SetupError, say
from settings import settings


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    given = options.parse(argv)
    try:
        return COMMANDS[given.verb](given)
    except (SetupError, OSError, CheckpointConflict, peewee.DatabaseError, RuntimeError) as error:
        say(f"✗ {str(error).strip()}")
        return 1


def _verify(given: argparse.Namespace) -> int:
    key_of = None if given.without_mac_keys else papers.key_of(given.mac_keys)
    walk = Walk(key_of)
    public = papers.public_keys(given.public_keys)
    store = store_at(_url(given.checkpoints) if given.checkpoints else settings.audit_checkpoint_url)
    seen = papers.take_checkpoints(walk, store, public)
    notes = []
    if given.file:
        known = _exported_chains(walk, given.file, public)
        # A file of one brand isn't to have what checkpoints tell of the others.
        walk.chains = {id: chain for id, chain in walk.chains.items() if id in known}
    else:
        notes = _go_through_database(walk, seen)
    faults = walk.faults()
    report = walk.report(faults) | {"checkpoints": seen, "notes": walk.starts() + notes + _erased(walk)}
    if given.json:
        say(json.dumps(report, indent=2))
    else:
        _show(report, [fault.text for fault in faults])
    return 1 if faults else 0


def _erased(walk: Walk) -> list[str]:
    return [f"{walk.erased:,} personal values have been erased"] if walk.erased else []


def _url(text: str) -> str:
    """A path is meant from where the person is; a URL as it stands."""
    return text if "://" in text or text.startswith("file:") else f"file://{Path(text).resolve()}"


def _exported_chains(walk: Walk, path: Path, public: checkpoints.PublicKeys) -> set[UUID]:
    papers.take_export(walk, path, public)
    return {
        id
        for id, chain in walk.chains.items()
        if chain.count or any(mark.source == "the export" for marks in chain.marks.values() for mark in marks)
    }


def _go_through_database(walk: Walk, seen: int) -> list[str]:
    with transaction(context.for_system_job()):
        heads, stored = checkpoints.heads(), checkpoints.last_number()
        unsealed = value("SELECT count(*) FROM public.audit_logs WHERE seq IS NULL")
        chains = {row for row in seals.chains() if row not in heads}
    walk.mark(heads, "the database")
    for chain in [*heads, *chains, *(id for id in walk.chains if id not in heads and id not in chains)]:
        start = walk.chain(chain).latest_start
        for entry in papers.entries_of(chain, after=start.seq):
            walk.take(entry)
        papers.take_leftovers(walk, chain, start)
    notes = [f"{unsealed:,} entries have no seal yet"] if unsealed else []
    if seen < stored:
        walk.missing_checkpoints(seen, stored)
    elif not seen:
        notes.append(
            "There is no checkpoint: entries cut off at the end of a chain together with its head are not missed"
        )
    return notes


def _show(report: dict[str, Any], faults: list[str]) -> None:
    for fault in faults:
        say(f"✗ {fault}")
    for note in report["notes"]:
        say(f"  {note}")
    counted = f"{report['entries']:,} entries in {report['chains']:,} chains, {report['checkpoints']:,} checkpoints"
    say(f"{counted}: {'whole' if report['whole'] else f'{len(faults):,} faults'}")


def _export(given: argparse.Namespace) -> int:
    with transaction(context.for_system_job(), closing=FLUSH):
        heads, begun = checkpoints.heads([_chain(given.brand)] if given.brand else None), retention.begun()
    try:
        count = papers.write_export(given.file, heads, begun, now())
    except FileExistsError:
        raise SetupError(f"{given.file} exists") from None
    say(f"{count:,} entries of {len(heads):,} chains are in {given.file}")
    return 0


def _chain(brand: str) -> UUID:
    try:
        return seals.PLATFORM if brand == "platform" else UUID(brand)
    except ValueError:
        raise SetupError(f"{brand!r} is no brand's id, nor `platform`") from None


def _checkpoint(_given: argparse.Namespace) -> int:
    with transaction(context.for_sealer()):
        checkpoints.take(unless_younger_than=checkpoints.AT_MOST_EVERY * 0)
    for number in upkeep.store_waiting(settings.audit_checkpoint_url):
        say(f"Checkpoint {number} is stored")
    return 0


def _keys(given: argparse.Namespace) -> int:
    say(json.dumps(papers.mac_keys() if given.mac else checkpoints.public_key_set(), indent=2))
    return 0


def _versions(_given: argparse.Namespace) -> int:
    with transaction(context.for_system_job()):
        say(json.dumps(seals.entries_by_version()))
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
