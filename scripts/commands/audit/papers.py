"""What verification goes by, from outside the database: checkpoints, exported files, keys."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from jobs.audit.checkpoint_stores import Store
from models.audit import chain as seals
from models.audit import checkpoints
from models.audit.chain import Head, KeyOf, canonical
from models.audit.checkpoints import PublicKeys, Unsigned
from models.core import base64url, keys
from scripts.commands.audit.walk import Fault, Walk
from scripts.devstack.progress import SetupError

FORMAT = "companon-audit-export/1"
MOST_FAULTS = 20
"""Wrong checkpoints after which no more are read."""


def mac_keys() -> dict[str, str]:
    """The keys of all versions that entries are sealed under. Who has them can seal."""
    found = {version: seals.key_of(version) for version in keys.versions()}
    return {str(version): base64url.encode(key) for version, key in found.items()}


def key_of(path: Path | None) -> KeyOf:
    """The keys of a file that `keys --mac` printed, or the system's own.

    Raises:
        SetupError: it is none.
    """
    if path is None:
        seals.key_of(keys.active_version())
        return seals.key_of
    try:
        read = {int(version): base64url.decode(key) for version, key in _json(path).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SetupError(f"{path}: {error}") from None
    return lambda version: read[int(version)]


def public_keys(path: Path | None) -> PublicKeys:
    """The keys of a file that `keys` printed, or the system's own.

    Raises:
        SetupError: it is none.
    """
    try:
        return checkpoints.public_keys(checkpoints.public_key_set() if path is None else _json(path))
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise SetupError(str(error)) from None


def take_checkpoints(walk: Walk, store: Store, public: PublicKeys) -> int:
    """Compare chains with all checkpoints of a store, and those with each other; return the number of the last one.

    A store with `MOST_FAULTS` wrong documents is not read further: it could answer any number of them.
    """
    previous, expected = None, 1
    for number in store.numbers():
        if len(walk.other) >= MOST_FAULTS:
            walk.other.append(Fault("checkpoints", number, "not read: too many before it are wrong"))
            break
        if number > expected:
            walk.other.append(Fault("checkpoints", expected, f"removed: {number} comes next"))
        document = store.get(number) or ""
        try:
            said = checkpoints.opened(document, public)
            if said.get("format") != checkpoints.FORMAT:
                raise Unsigned("it is no checkpoint")
        except Unsigned as error:
            walk.other.append(Fault("checkpoints", number, f"changed: {error}"))
        else:
            if int(said["number"]) != number or (previous and said["previous"] != previous):
                walk.other.append(Fault("checkpoints", number, "not the one that followed the checkpoint before it"))
            source = f"checkpoint {number} of {said['at'][:19]}"
            walk.mark(checkpoints.heads_of(said), source)
            walk.start(checkpoints.starts_of(said), source)
        previous, expected = checkpoints.digest(document).hex(), number + 1
    return expected - 1


def write_export(path: Path, heads: Mapping[UUID, Head], begun: Mapping[UUID, int], at: Any) -> int:
    """Write the entries of these chains up to these heads, in canonical form, below a signed line; how many.

    Each has its personal values, with their salts, unless they have been erased.

    Chains begin after the numbers in `begun`: what comes before may be going while we look.
    """
    head = {"format": FORMAT, "at": at, "chains": checkpoints.statement_of(heads)}
    count = 0
    with path.open("x") as file:
        file.write(checkpoints.signed(head) + "\n")
        for chain, end in heads.items():
            for entry in entries_of(chain, end.seq, after=begun.get(chain, 0)):
                present = {name: part for name, part in entry.items() if part is not None}
                file.write(canonical({**present, "mac": entry["mac"].hex()}) + "\n")
                count += 1
    return count


def entries_of(chain: UUID, last: int | None = None, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """The sealed entries of a chain, after a sequence number and up to another, from the database."""
    # Not here on top: an exported file is verified where there is no database.
    from models.core import context
    from models.core.database import transaction

    while True:
        with transaction(context.for_system_job(), timeout=60.0):
            found = seals.sealed(None if chain == seals.PLATFORM else chain, after=after, personal=True)
        for entry in found:
            if last is not None and entry["seq"] > last:
                return
            yield entry
        if len(found) < seals.BATCH:
            return
        after = found[-1]["seq"]


def take_leftovers(walk: Walk, chain: UUID, start: Head) -> None:
    """Go through what the database still has of a chain before its start; what goes meanwhile is not missed."""
    from models.core import context
    from models.core.database import transaction

    last = 0
    while last < start.seq:
        limit = min(seals.BATCH, start.seq - last)
        with transaction(context.for_system_job(), timeout=60.0):
            found = seals.sealed(None if chain == seals.PLATFORM else chain, after=last, limit=limit)
        entries = [entry for entry in found if entry["seq"] <= start.seq]
        last = entries[-1]["seq"] if len(entries) == limit else start.seq
        walk.take_leftovers(chain, entries, start, are_all=last == start.seq)


def take_export(walk: Walk, path: Path, public: PublicKeys) -> None:
    """Go through an exported file.

    Raises:
        SetupError: it can't be read.
    """
    try:
        with path.open() as file:
            _take_head(walk, file.readline().removesuffix("\n"), public)
            for number, line in enumerate(file, 2):
                _take_line(walk, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: {error}") from None


def _take_head(walk: Walk, line: str, public: PublicKeys) -> None:
    try:
        said = checkpoints.opened(line, public)
        if said.get("format") != FORMAT:
            raise Unsigned("it is no export")
        walk.mark(checkpoints.heads_of(said), "the export")
    except Unsigned as error:
        walk.other.append(Fault("line", 1, f"changed: {error}"))


def _take_line(walk: Walk, number: int, line: str) -> None:
    try:
        entry = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        entry |= {"seq": int(entry["seq"]), "key_version": int(entry["key_version"])}
        mac = bytes.fromhex(entry["mac"])
        # As it is written, and not only as it is read: capitals in the MAC, or 1.0 in place of 1, are changes, too.
        if canonical({**entry, "mac": mac.hex()}) + "\n" != line:
            raise ValueError
        walk.take({**entry, "mac": mac})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        walk.other.append(Fault("line", number, "changed: it is no entry any more"))
