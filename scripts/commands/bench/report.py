"""Numbers as a person reads them."""

from collections.abc import Mapping, Sequence

from scripts.devstack.progress import say

Numbers = Mapping[str, float]
"""One flat object: what a benchmark found."""


_COUNTS = ("lost", "duplicate", "ghost")


def merged(*parts: Numbers) -> Numbers:
    """All of them in one, in which what was lost, or happened twice or unasked, is added up."""
    counts = {name: sum(part.get(name, 0) for part in parts) for name in _COUNTS}
    return {name: number for part in parts for name, number in part.items()} | counts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for first, *others in (head, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        say("  " + "  ".join(cells).rstrip())
