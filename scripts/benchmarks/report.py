"""Numbers as a person reads them."""

from collections.abc import Mapping, Sequence

from scripts.setup.progress import say

Numbers = Mapping[str, float]
"""One flat object: what a benchmark found."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for first, *others in (head, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        say("  " + "  ".join(cells).rstrip())
