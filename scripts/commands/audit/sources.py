"""Read the sources of verification: stored checkpoints, and entries in the database."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from jobs.audit.stores.base import Store
from models.audit import chain, checkpoints
from models.audit.chain import Head
from models.audit.checkpoints import InvalidSignedDocument, PublicKeys
from scripts.commands.audit.verification import Fault, Verification

MAX_FAULTS = 20
"""Wrong checkpoints after which no more are read."""


def check_checkpoints(verification: Verification, store: Store, public: PublicKeys) -> int:
    """Compare chains with all checkpoints of a store, and these with each other. Return the last checkpoint's number.

    Stop after `MAX_FAULTS` wrong documents: a hostile store could return any number of them.
    """
    previous, expected = None, 1
    for number in store.numbers():
        if len(verification.other) >= MAX_FAULTS:
            verification.other.append(Fault("checkpoints", number, "not read: too many before it are wrong"))
            break
        if number > expected:
            verification.other.append(Fault("checkpoints", expected, f"removed: {number} comes next"))
        document = store.get(number) or ""
        _check_document(verification, number, document, previous, public)
        previous, expected = checkpoints.digest(document).hex(), number + 1
    return expected - 1


def _check_document(
    verification: Verification, number: int, document: str, previous: str | None, public: PublicKeys
) -> None:
    try:
        statement = checkpoints.verify_document(document, public)
        if statement.get("format") != checkpoints.FORMAT:
            raise InvalidSignedDocument("it is no checkpoint")
    except InvalidSignedDocument as error:
        verification.other.append(Fault("checkpoints", number, f"changed: {error}"))
        return
    if int(statement["number"]) != number or (previous and statement["previous"] != previous):
        verification.other.append(Fault("checkpoints", number, "it does not follow the checkpoint before it"))
    source = f"checkpoint {number} of {statement['at'][:19]}"
    verification.add_heads(checkpoints.heads_of(statement), source)
    verification.add_starts(checkpoints.starts_of(statement), source)


def entries_of(chain_id: UUID, last: int | None = None, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Read the sealed entries of a chain from the database, after one sequence number and up to another."""
    while True:
        found = _read(chain_id, after, chain.BATCH, personal=True)
        for entry in found:
            if last is not None and entry["seq"] > last:
                return
            yield entry
        if len(found) < chain.BATCH:
            return
        after = found[-1]["seq"]


def check_undeleted(verification: Verification, chain_id: UUID, start: Head) -> None:
    """Check the stored entries of a chain before its start. Entries that are deleted meanwhile are not reported."""
    last = 0
    while last < start.seq:
        limit = min(chain.BATCH, start.seq - last)
        found = _read(chain_id, last, limit)
        entries = [entry for entry in found if entry["seq"] <= start.seq]
        last = entries[-1]["seq"] if len(entries) == limit else start.seq
        verification.check_undeleted(chain_id, entries, start, is_complete=last == start.seq)


def _read(chain_id: UUID, after: int, limit: int, *, personal: bool = False) -> list[dict[str, Any]]:
    # Imported here: an export file is verified on machines without a database.
    from models.core import context
    from models.core.database import transaction

    brand_id = None if chain_id == chain.PLATFORM else chain_id
    with transaction(context.for_system_job(), timeout=60.0):
        return chain.sealed_entries(brand_id, after=after, limit=limit, personal=personal)
