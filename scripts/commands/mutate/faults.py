"""Places in a source text where a fault can be put, and the sampling of them."""

import difflib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Sites = Callable[[str], list["Site"]]
"""Find the sites of one source text."""


@dataclass(frozen=True)
class Site:
    """One place in a text and the faults that can be put there."""

    line: int
    column: int
    mutants: tuple[Callable[[], str], ...]
    """Each returns the whole text with one fault."""


@dataclass(frozen=True)
class Fault:
    """One change of one file."""

    path: Path
    line: int
    original: str
    mutated: str

    def changed_lines(self) -> list[str]:
        """Return the removed and the added lines, marked with `-` and `+`."""
        lines = difflib.unified_diff(self.original.splitlines(), self.mutated.splitlines(), n=0, lineterm="")
        return [line for line in lines if line[:3] not in {"---", "+++"} and not line.startswith("@@")]

    def key(self) -> str:
        """Identify the change by file and content, independent of line numbers."""
        return " ".join([str(self.path), *(line[0] + line[1:].strip() for line in self.changed_lines())])


def sample(
    root: Path, finders: Mapping[Path, Sites], count: int, seed: int, excluded: Sequence[str] = ()
) -> list[Fault]:
    """Choose `count` faults at random sites, the same ones for the same seed and sources.

    Args:
        root: the checkout that the paths are relative to.
        finders: the function that finds the sites of each file.
        count: faults to choose; fewer are returned if there are fewer sites.
        seed: start value of the random generator.
        excluded: keys of faults that change no behaviour.
    """
    generator = random.Random(seed)
    texts = {path: (root / path).read_text() for path in sorted(finders)}
    sites = [(path, site) for path, text in texts.items() for site in sorted(finders[path](text), key=_place)]
    generator.shuffle(sites)
    faults: list[Fault] = []
    for path, site in sites:
        if len(faults) == count:
            break
        fault = Fault(path, site.line, texts[path], generator.choice(site.mutants)())
        if fault.mutated != fault.original and fault.key() not in excluded:
            faults.append(fault)
    return faults


def _place(site: Site) -> tuple[int, int]:
    return site.line, site.column
