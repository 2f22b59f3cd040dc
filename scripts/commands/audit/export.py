"""Write sealed entries to an export file, and verify such a file."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from models.audit import checkpoints
from models.audit.chain import Head, canonical
from models.audit.checkpoints import InvalidSignedDocument, PublicKeys
from scripts.commands.audit.sources import entries_of
from scripts.commands.audit.verification import ChainVerification, Fault, Verification
from scripts.devstack.progress import SetupError

FORMAT = "companon-audit-export/1"
SOURCE = "the export"
"""Name of the signed first line in reports."""


def write(path: Path, heads: Mapping[UUID, Head], starts: Mapping[UUID, int], at: datetime) -> int:
    """Write a signed line with these heads, and the entries up to them in canonical form. Return their number.

    Each entry has its personal values with their salts, unless they are erased. A chain's entries begin after its
    number in `starts`: older ones may be deleted meanwhile.

    Raises:
        FileExistsError: the file exists.
    """
    head = {"format": FORMAT, "at": at, "chains": checkpoints.list_heads(heads)}
    count = 0
    with path.open("x") as file:
        file.write(checkpoints.sign(head) + "\n")
        for chain_id, end in heads.items():
            for entry in entries_of(chain_id, end.seq, after=starts.get(chain_id, 0)):
                present = {name: part for name, part in entry.items() if part is not None}
                file.write(canonical({**present, "mac": entry["mac"].hex()}) + "\n")
                count += 1
    return count


def verify(verification: Verification, path: Path, public: PublicKeys) -> None:
    """Verify an export file.

    Raises:
        SetupError: the file can't be read.
    """
    try:
        with path.open() as file:
            _check_head(verification, file.readline().removesuffix("\n"), public)
            for number, line in enumerate(file, 2):
                _check_line(verification, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: {error}") from None


def contains(chain: ChainVerification) -> bool:
    """Return whether a verified export file contains this chain."""
    return bool(chain.count) or any(head.source == SOURCE for heads in chain.signed_heads.values() for head in heads)


def _check_head(verification: Verification, line: str, public: PublicKeys) -> None:
    try:
        statement = checkpoints.verify_document(line, public)
        if statement.get("format") != FORMAT:
            raise InvalidSignedDocument("it is no export")
        verification.add_heads(checkpoints.heads_of(statement), SOURCE)
    except InvalidSignedDocument as error:
        verification.other.append(Fault("line", 1, f"changed: {error}"))


def _check_line(verification: Verification, number: int, line: str) -> None:
    try:
        entry = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        entry |= {"seq": int(entry["seq"]), "key_version": int(entry["key_version"])}
        mac = bytes.fromhex(entry["mac"])
        # Compare the text: capitals in the MAC, or 1.0 in place of 1, are changes although they parse to equal values.
        if canonical({**entry, "mac": mac.hex()}) + "\n" != line:
            raise ValueError
        verification.check({**entry, "mac": mac})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        verification.other.append(Fault("line", number, "changed: it is not an entry"))
