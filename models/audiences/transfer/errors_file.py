"""The file of errors of an import: a line for each reason, with the original values."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from models.audiences.transfer.writing import cell
from models.core.database import rows

PAGE = 2_000
HEADER = ("row", "field", "reason")


def header(columns: Sequence[str]) -> list[str]:
    """Return the names of the columns: number, field and reason, then those of the file."""
    return [*HEADER, *(name if name not in HEADER else f"{name} (file)" for name in columns)]


def page(import_id: UUID, after: tuple[int, str, str]) -> list[dict[str, Any]]:
    """Return the next kept rows after a row number, field and reason."""
    return rows(
        "SELECT row_number, field, reason, cells FROM public.contact_import_rows"
        " WHERE import_id = %s AND (row_number, field, reason) > (%s, %s, %s)"
        " ORDER BY row_number, field, reason LIMIT %s",
        (import_id, *after, PAGE),
    )


def lines(found: Sequence[dict[str, Any]], width: int) -> Iterator[list[Any]]:
    """Yield the lines of the file. The values of a row that could not be read are in the first column."""
    for one in found:
        cells = [cell(value) if isinstance(value, list) else value for value in one["cells"]]
        cells = [str(value) if isinstance(value, dict) else value for value in cells]
        yield [one["row_number"], one["field"], one["reason"], *cells[:width], *[None] * (width - len(cells))]
