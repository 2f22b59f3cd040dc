"""Print results for people."""

from collections.abc import Mapping, Sequence

from scripts.devstack.progress import say

Numbers = Mapping[str, float]
"""Results of a benchmark: one flat object."""


_COUNTS = ("lost", "duplicate", "ghost")


def merged(*parts: Numbers) -> Numbers:
    """Merge results. Add up lost, duplicate and ghost counts."""
    counts = {name: sum(part.get(name, 0) for part in parts) for name in _COUNTS}
    return {name: number for part in parts for name, number in part.items()} | counts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for first, *others in (head, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        say("  " + "  ".join(cells).rstrip())
