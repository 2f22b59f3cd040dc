"""Verify chains entry by entry and report each difference from the sealed chain."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from models.audit.chain import PLATFORM, Entry, Head, KeyLookup, changed_values, erased_values, is_intact

MAX_FAULTS = 20
"""Reported faults of one chain. After one broken entry, all later entries may be broken."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Difference from the sealed chain. `seq` is the number of an entry in its chain, or of a checkpoint."""

    chain: str
    seq: int
    detail: str

    @property
    def text(self) -> str:
        """Return the fault as one line."""
        return f"{self.chain}, {self.seq}: {self.detail}"


@dataclass(frozen=True, slots=True)
class SignedHead:
    """Head of a chain at the time of a signed statement, and the name of the statement."""

    head: Head
    source: str


@dataclass
class ChainVerification:
    """Verification of one chain."""

    name: str
    signed_heads: dict[int, list[SignedHead]] = field(default_factory=dict)
    """Signed heads by sequence number."""
    starts: dict[int, SignedHead] = field(default_factory=dict)
    """Signed starts by sequence number: the last deleted entries."""
    start: SignedHead | None = None
    """The start after which the chain was verified; None if it was verified from its beginning."""
    last: Head = field(default_factory=Head)
    count: int = 0
    erased: int = 0
    """Erased personal values."""
    undeleted: int = 0
    """Entries before the start that are still stored."""
    last_undeleted: Head = field(default_factory=Head)
    faults: list[Fault] = field(default_factory=list)

    @property
    def latest_start(self) -> Head:
        """Return the newest signed start; the beginning of the chain if there is none."""
        return self.starts[max(self.starts)].head if self.starts else Head()

    def add(self, signed: SignedHead) -> None:
        """Compare the chain with a signed head."""
        self.signed_heads.setdefault(signed.head.seq, []).append(signed)

    def check(self, entry: Entry, key_of: KeyLookup | None) -> None:
        """Check the next entry. Without keys, check its position and not its content."""
        seq, mac = int(entry["seq"]), bytes(entry["mac"] or b"")
        if self.count == 0:
            self._begin(seq)
        expected = self.last.seq + 1
        if seq > expected:
            missing = f"{expected}" if seq == expected + 1 else f"{expected} to {seq - 1}"
            self.report(expected, f"{missing} removed, or not in order: {seq} comes next")
        elif seq < expected:
            self.report(seq, f"inserted, or not in order: it comes after {self.last.seq}")
        elif key_of is not None and not is_intact(entry, self.last.mac, key_of):
            self.report(seq, "changed: it differs from the entry that was sealed after the one before it")
        for path in changed_values(entry):
            self.report(seq, f"changed: {path} differs from the recorded value")
        self.erased += len(erased_values(entry))
        self._compare(seq, mac)
        self.count += 1
        if seq >= expected:
            self.last = Head(seq, mac)

    def _begin(self, seq: int) -> None:
        """Set the entry that the first one must follow: none, or a signed start."""
        if seq == 1:
            return
        start = max((s for s in self.starts if s < seq), default=0)
        if start:
            self.start = self.starts[start]
            self.last = self.start.head
            self._compare(start, self.last.mac)

    def _compare(self, seq: int, mac: bytes) -> None:
        for signed in self.signed_heads.get(seq, []):
            if signed.head.mac != mac:
                self.report(seq, f"differs from the entry in {signed.source}")

    def check_undeleted(
        self, entries: Sequence[Entry], start: Head, key_of: KeyLookup | None, *, is_complete: bool
    ) -> None:
        """Check entries that are released for deletion, because a checkpoint says that the chain starts after them.

        The oldest are deleted first, so the rest has no gaps and leads up to the start. A change of the first
        of them can't be found once its predecessor is deleted.

        Args:
            entries: the next of these entries, read at one moment.
            start: the last of them, after which the chain starts.
            key_of: the keys; None to check positions and not contents.
            is_complete: whether these are the last of them.
        """
        for number, entry in enumerate(entries):
            seq, mac = int(entry["seq"]), bytes(entry["mac"] or b"")
            before = self._before_undeleted(seq)
            if before is None and number:
                self.report(self.last_undeleted.seq + 1, f"removed, or not in order: {seq} comes next")
            elif before and key_of is not None and not is_intact(entry, before.mac, key_of):
                self.report(seq, "changed: it differs from the entry that was sealed after the one before it")
            self.last_undeleted = Head(seq, mac)
        if entries and is_complete and self.last_undeleted != start:
            self.report(self.last_undeleted.seq, f"differs from the entry that leads to {start.seq}")
        self.undeleted += len(entries)

    def _before_undeleted(self, seq: int) -> Head | None:
        """Return the entry before this one, if it is known."""
        if seq == self.last_undeleted.seq + 1:
            return self.last_undeleted
        return self.starts[seq - 1].head if seq - 1 in self.starts else None

    def end(self) -> None:
        """Compare the end of the chain with the signed heads."""
        if self.count == 0 and self.starts:
            self._begin(max(self.starts) + 1)
        beyond = [signed for seq in self.signed_heads if seq > self.last.seq for signed in self.signed_heads[seq]]
        if beyond:
            longest = max(beyond, key=lambda signed: signed.head.seq)
            self.report(self.last.seq + 1, f"cut off: {longest.source} has {longest.head.seq} entries")

    def report(self, seq: int, detail: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(self.name, seq, detail))


class Verification:
    """Verification of all chains. The entries of each chain must arrive in their order."""

    def __init__(self, key_of: KeyLookup | None) -> None:
        self._key_of = key_of
        self.chains: dict[UUID, ChainVerification] = {}
        self.other: list[Fault] = []
        """Faults of checkpoints and export files."""

    def chain(self, chain_id: UUID) -> ChainVerification:
        """Return the verification of one chain."""
        name = "platform" if chain_id == PLATFORM else f"brand {chain_id}"
        return self.chains.setdefault(chain_id, ChainVerification(name))

    def add_heads(self, heads: Mapping[UUID, Head], source: str) -> None:
        """Compare chains with the heads of a signed statement."""
        for chain_id, head in heads.items():
            self.chain(chain_id).add(SignedHead(head, source))

    def add_starts(self, starts: Mapping[UUID, Head], source: str) -> None:
        """Accept chains that start after the entries of a signed statement."""
        for chain_id, head in starts.items():
            self.chain(chain_id).starts.setdefault(head.seq, SignedHead(head, source))

    def check(self, entry: Entry) -> None:
        """Check the next entry of its chain."""
        brand_id = entry.get("brand_id")
        self.chain(UUID(str(brand_id)) if brand_id else PLATFORM).check(entry, self._key_of)

    def check_undeleted(self, chain_id: UUID, entries: Sequence[Entry], start: Head, *, is_complete: bool) -> None:
        """Check entries before the start of a chain; see `ChainVerification.check_undeleted`."""
        self.chain(chain_id).check_undeleted(entries, start, self._key_of, is_complete=is_complete)

    def report_missing_checkpoints(self, found: int, stored: int) -> None:
        """Report that the store has fewer checkpoints than the database has marked as stored."""
        self.other.append(Fault("checkpoints", found + 1, f"cut off: {stored} were stored"))

    def faults(self) -> list[Fault]:
        """Return all faults after the last entry: at most `MAX_FAULTS` of each chain."""
        for chain in self.chains.values():
            chain.end()
        found = [fault for chain in self.chains.values() for fault in chain.faults[:MAX_FAULTS]]
        return self.other + found

    def start_notes(self) -> list[str]:
        """Return one line for each chain whose oldest entries have been deleted, with the source of its start."""
        return [
            f"{chain.name} starts at {chain.start.head.seq + 1}, as {chain.start.source} says"
            + (f"; {chain.undeleted:,} older entries are not deleted yet" if chain.undeleted else "")
            for chain in self.chains.values()
            if chain.start
        ]

    @property
    def erased(self) -> int:
        """Return the number of erased personal values."""
        return sum(chain.erased for chain in self.chains.values())

    def summary(self, faults: list[Fault]) -> dict[str, Any]:
        """Return the result as one JSON object."""
        return {
            "intact": not faults,
            "chains": len(self.chains),
            "erased": self.erased,
            "entries": sum(chain.count + chain.undeleted for chain in self.chains.values()),
            "faults": [asdict(fault) for fault in faults],
        }
