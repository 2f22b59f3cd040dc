"""Read a table row by row, with the position after each row, so that reading can resume there."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from models.audiences.transfer.detection import Layout, to_utf8
from models.core.enumerations import enumeration

RowFault = Annotated[
    Literal["wrong_number_of_cells", "not_text", "nul_character", "row_too_long", "bad_quotation_marks", "bad_json"],
    enumeration(
        "ImportRowFault",
        "Reason why a row can't be read. `wrong_number_of_cells`: it has more or fewer cells than the header. "
        "`not_text`: its bytes are no text in the file's encoding. `nul_character`: it contains U+0000. "
        "`row_too_long`: it has more than 100,000 characters. `bad_quotation_marks`: one is not closed, or text "
        "follows a closed one. `bad_json`: the line is no JSON object.",
    ),
]

MAX_ROW_CHARACTERS = 100_000
MAX_SHOWN = 1000
"""Characters that are kept of a line that can't be read."""
_MAX_LINE_BYTES = 4 * MAX_ROW_CHARACTERS


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a file.

    Attributes:
        number: number of the row, beginning with 1; the header has none.
        end: position in bytes after the row, in the file in UTF-8.
        cells: the values in the order of the columns; text in a CSV file, any JSON value in JSON Lines.
        fault: why the row can't be read, or None; `cells` then is the part that can be shown.
    """

    number: int
    end: int
    cells: list[Any]
    fault: RowFault | None = None


class Table:
    """The rows of a file, from a position on. Blank lines are no rows."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = to_utf8(path, layout)
        self._layout = layout
        self.size = self._path.stat().st_size
        """Bytes of the file in UTF-8."""

    def rows(self, *, position: int = 0, number: int = 0) -> Iterator[Record]:
        """Yield the rows after a position, which is the `end` of the row with this number; 0 and 0: all rows."""
        with self._path.open("rb") as file:
            file.seek(position or (self._layout.bom if self._layout.is_plain else 0))
            if self._layout.format == "jsonl":
                yield from self._objects(file, number)
                return
            lines = _Lines(file)
            if not position:
                next(self._reader(lines), None)
            yield from self._cells(lines, number)

    def _reader(self, lines: "_Lines") -> Any:
        # Strict: without it, a quotation mark that is never closed would hide all rows after it in one cell.
        return csv.reader(lines, delimiter=self._layout.delimiter, strict=True)

    def _cells(self, lines: "_Lines", number: int) -> Iterator[Record]:
        reader, width = self._reader(lines), len(self._layout.columns)
        while True:
            lines.begin_row()
            fault: RowFault = "bad_quotation_marks"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _RowTooLong:
                fault, cells = "row_too_long", None
            except csv.Error:
                cells = None
            if cells is None:
                # Continue after the first line: a wrong quotation mark must not cost the rows after it.
                number += 1
                lines.resume_after_first()
                reader = self._reader(lines)
                yield Record(number, lines.end, [lines.first[:MAX_SHOWN].rstrip("\r\n")], fault)
            elif cells:
                number += 1
                while len(cells) > width and not cells[-1]:
                    cells.pop()
                yield Record(number, lines.end, cells, _fault_in(cells, width))

    def _objects(self, file: BinaryIO, number: int) -> Iterator[Record]:
        lines = _Lines(file)
        while True:
            lines.begin_row()
            try:
                line = next(lines)
            except StopIteration:
                return
            except _RowTooLong:
                number += 1
                yield Record(number, lines.end, [lines.first[:MAX_SHOWN]], "row_too_long")
                continue
            if line.strip():
                number += 1
                yield _object_in(line, self._layout.columns, number, lines.end)


def _fault_in(cells: list[str], width: int) -> RowFault | None:
    if len(cells) != width:
        return "wrong_number_of_cells"
    return _fault_in_text("".join(cells))


def _fault_in_text(text: str) -> RowFault | None:
    if text.isascii():
        return "nul_character" if "\0" in text else None
    if "\0" in text:
        return "nul_character"
    if "\ufffd" in text:
        return "not_text"
    try:
        text.encode()
    except UnicodeEncodeError:  # surrogates, which stand for bytes that are no text
        return "not_text"
    return None


def _object_in(line: str, columns: tuple[str, ...], number: int, end: int) -> Record:
    shown = [line.strip()[:MAX_SHOWN]]
    fault = _fault_in_text(line)
    if fault:
        return Record(number, end, shown, fault)
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError):
        return Record(number, end, shown, "bad_json")
    if not isinstance(row, dict):
        return Record(number, end, shown, "bad_json")
    fault = "nul_character" if "\\u0000" in line else None
    return Record(number, end, [row.get(column) for column in columns], fault)


class _RowTooLong(Exception):
    """The row has more than `MAX_ROW_CHARACTERS`."""


class _Lines:
    """Lines of a file in UTF-8, and the position after the last one. Bytes that are no text become surrogates."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end = file.tell()
        self.first = ""
        """First line of the current row."""
        self._first_end = self.end
        self._characters = 0

    def begin_row(self) -> None:
        """Count the characters of a new row."""
        self._characters, self.first = 0, ""

    def resume_after_first(self) -> None:
        """Continue after the first line of the current row."""
        self._file.seek(self._first_end)
        self.end = self._first_end

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        raw = self._file.readline(_MAX_LINE_BYTES)
        if not raw:
            raise StopIteration
        is_whole = raw.endswith(b"\n") or len(raw) < _MAX_LINE_BYTES
        self.end += len(raw)
        while not is_whole:
            rest = self._file.readline(_MAX_LINE_BYTES)
            self.end += len(rest)
            is_whole = not rest or rest.endswith(b"\n")
        line = raw.decode("utf-8", "surrogateescape")
        if not self.first:
            self.first, self._first_end = line, self.end
        self._characters += len(line)
        if self._characters > MAX_ROW_CHARACTERS:
            raise _RowTooLong
        return line
