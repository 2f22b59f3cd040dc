"""Going through chains entry by entry, and saying where one is not as it was sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from models.audit.chain import PLATFORM, Entry, Head, KeyOf, changed_values, erased_values, holds

TOLD = 20
"""Faults of one chain that are told; where one is broken, all that follows may be."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where something is not as it was sealed; `seq` is the entry's number in its chain, of a checkpoint its own."""

    chain: str
    seq: int
    what: str

    @property
    def text(self) -> str:
        """On one line."""
        return f"{self.chain}, {self.seq}: {self.what}"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a signed statement says of a chain: its head at that time."""

    head: Head
    source: str


@dataclass
class Chain:
    """One chain, as far as it has been gone through."""

    name: str
    marks: dict[int, list[Mark]] = field(default_factory=dict)
    starts: dict[int, Mark] = field(default_factory=dict)
    """After which entries it may begin, by their numbers: what older ones there were has been dropped."""
    held_after: Mark | None = None
    last: Head = field(default_factory=Head)
    count: int = 0
    erased: int = 0
    """Personal values that have been erased."""
    leftovers: int = 0
    """Entries that are still there and that nothing holds any more."""
    last_leftover: Head = field(default_factory=Head)
    faults: list[Fault] = field(default_factory=list)

    @property
    def latest_start(self) -> Head:
        """After which entry it is held now; of a chain that is held from its beginning, after none."""
        return self.starts[max(self.starts)].head if self.starts else Head()

    def add(self, mark: Mark) -> None:
        """Have the chain compared with what somebody has signed."""
        self.marks.setdefault(mark.head.seq, []).append(mark)

    def take(self, entry: Entry, key_of: KeyOf | None) -> None:
        """Look at the next entry. Without keys its place is looked at, and not what it says."""
        seq, mac = int(entry["seq"]), bytes(entry["mac"] or b"")
        if self.count == 0:
            self._begin(seq)
        expected = self.last.seq + 1
        if seq > expected:
            gone = f"{expected}" if seq == expected + 1 else f"{expected} to {seq - 1}"
            self.fault(expected, f"{gone} removed, or not in order: {seq} comes next")
        elif seq < expected:
            self.fault(seq, f"inserted, or not in order: it comes after {self.last.seq}")
        elif key_of is not None and not holds(entry, self.last.mac, key_of):
            self.fault(seq, "changed: it is not what was sealed after the entry before it")
        for path in changed_values(entry):
            self.fault(seq, f"changed: {path} is not the value that was recorded")
        self.erased += len(erased_values(entry))
        for mark in self.marks.get(seq, []):
            if mark.head.mac != mac:
                self.fault(seq, f"another entry than the one that {mark.source} saw")
        self.count += 1
        if seq >= expected:
            self.last = Head(seq, mac)

    def _begin(self, seq: int) -> None:
        """Find what the first entry has to come after: nothing, or what a checkpoint says."""
        if seq == 1:
            return
        start = max((s for s in self.starts if s < seq), default=0)
        if start:
            self.held_after = self.starts[start]
            self.last = self.held_after.head
            for mark in self.marks.get(start, []):
                if mark.head.mac != self.last.mac:
                    self.fault(start, f"another entry than the one that {mark.source} saw")

    def take_leftovers(self, entries: Sequence[Entry], start: Head, key_of: KeyOf | None, *, are_all: bool) -> None:
        """Look at entries that may go: a checkpoint says that the chain is held after `start`; some may have gone.

        They go oldest first, so what is there is a piece without gaps, up to the start. Of its first entry nobody can
        tell whether it was changed, once what it came after is gone.

        Args:
            entries: the next ones, of one moment.
            start: what the chain is held after.
            key_of: the keys; without them places are looked at, and not what entries say.
            are_all: whether there are no more of them.
        """
        for number, entry in enumerate(entries):
            seq, mac = int(entry["seq"]), bytes(entry["mac"] or b"")
            before = self._before_leftover(seq)
            if before is None and number:
                self.fault(self.last_leftover.seq + 1, f"removed, or not in order: {seq} comes next")
            elif before and key_of is not None and not holds(entry, before.mac, key_of):
                self.fault(seq, "changed: it is not what was sealed after the entry before it")
            self.last_leftover = Head(seq, mac)
        if entries and are_all and self.last_leftover != start:
            self.fault(self.last_leftover.seq, f"another entry than the one that leads to {start.seq}")
        self.leftovers += len(entries)

    def _before_leftover(self, seq: int) -> Head | None:
        """What an entry came after, if that is known."""
        if seq == self.last_leftover.seq + 1:
            return self.last_leftover
        return self.starts[seq - 1].head if seq - 1 in self.starts else None

    def end(self) -> None:
        """Compare the end with what should be there."""
        if self.count == 0 and self.starts:
            self._begin(max(self.starts) + 1)
        beyond = [mark for seq in self.marks if seq > self.last.seq for mark in self.marks[seq]]
        if beyond:
            most = max(beyond, key=lambda mark: mark.head.seq)
            self.fault(self.last.seq + 1, f"cut off: {most.source} saw {most.head.seq} entries")

    def fault(self, seq: int, what: str) -> None:
        """Note one."""
        self.faults.append(Fault(self.name, seq, what))


class Walk:
    """All chains at once; entries of each have to come in their order."""

    def __init__(self, key_of: KeyOf | None) -> None:
        self._key_of = key_of
        self.chains: dict[UUID, Chain] = {}
        self.other: list[Fault] = []
        """What is wrong beside the chains."""

    def chain(self, id: UUID) -> Chain:
        """The chain of a brand, or the platform's."""
        return self.chains.setdefault(id, Chain("platform" if id == PLATFORM else f"brand {id}"))

    def mark(self, heads: Mapping[UUID, Head], source: str) -> None:
        """Have chains compared with what somebody has signed."""
        for id, head in heads.items():
            self.chain(id).add(Mark(head, source))

    def start(self, heads: Mapping[UUID, Head], source: str) -> None:
        """Let chains begin after these entries, because somebody has signed that they do."""
        for id, head in heads.items():
            self.chain(id).starts.setdefault(head.seq, Mark(head, source))

    def take(self, entry: Entry) -> None:
        """Look at the next entry of its chain."""
        brand_id = entry.get("brand_id")
        self.chain(UUID(str(brand_id)) if brand_id else PLATFORM).take(entry, self._key_of)

    def take_leftovers(self, id: UUID, entries: Sequence[Entry], start: Head, *, are_all: bool) -> None:
        """See `Chain.take_leftovers`."""
        self.chain(id).take_leftovers(entries, start, self._key_of, are_all=are_all)

    def missing_checkpoints(self, seen: int, made: int) -> None:
        """Note that the store has fewer checkpoints than the database has given it."""
        self.other.append(Fault("checkpoints", seen + 1, f"cut off: {made} were stored"))

    def faults(self) -> list[Fault]:
        """All that is wrong, once everything has been taken; the first of each chain only."""
        for chain in self.chains.values():
            chain.end()
        found = [fault for chain in self.chains.values() for fault in chain.faults[:TOLD]]
        return self.other + found

    def starts(self) -> list[str]:
        """From where chains are held whose oldest entries have been dropped, and who says so."""
        return [
            f"{chain.name} is held from {chain.held_after.head.seq + 1} on: {chain.held_after.source} says so"
            + (f"; {chain.leftovers:,} older ones have not been dropped yet" if chain.leftovers else "")
            for chain in self.chains.values()
            if chain.held_after
        ]

    @property
    def erased(self) -> int:
        """Number of erased personal values."""
        return sum(chain.erased for chain in self.chains.values())

    def report(self, faults: list[Fault]) -> dict[str, Any]:
        """As one object."""
        return {
            "whole": not faults,
            "chains": len(self.chains),
            "erased": self.erased,
            "entries": sum(chain.count + chain.leftovers for chain in self.chains.values()),
            "faults": [asdict(fault) for fault in faults],
        }
