"""Write tables as CSV, JSON Lines or Parquet, batch by batch. An import reads the first two back unchanged."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Protocol, Self

import pyarrow as pa
from pyarrow import parquet

from models.audiences.transfer.cleaning import FORMULA, join_list
from models.core.enumerations import enumeration

ExportFormat = Annotated[
    Literal["csv", "jsonl", "parquet"],
    enumeration(
        "ExportFormat",
        "Format of an export. `csv`: UTF-8 with a byte-order mark, as spreadsheets need it; an apostrophe precedes "
        "texts that they would run as formulas. `jsonl`: one JSON object per line. `parquet`: Apache Parquet.",
    ),
]

CONTENT_TYPES: Mapping[str, str] = {
    "csv": "text/csv",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_PARQUET_TYPES: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.string(),
    "datetime": pa.string(),
    "list": pa.list_(pa.string()),
}


class Writer(Protocol):
    """Writer of one file. Each row has a value or None for each column."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows."""


def writer(kind: ExportFormat, path: Path, columns: Mapping[str, str]) -> Writer:
    """Return a writer of a file.

    Args:
        kind: format of the file.
        path: where it is written.
        columns: type of each column: text, number, boolean, date, datetime or list.
    """
    if kind == "csv":
        return CsvWriter(path, list(columns))
    if kind == "jsonl":
        return JsonLinesWriter(path, list(columns))
    return ParquetWriter(path, columns)


class _File:
    """A file of text that is closed at the end."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._file = path.open("w", encoding=encoding, newline="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class CsvWriter(_File):
    """Writer of CSV (RFC 4180)."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, "utf-8-sig")
        self._csv = csv.writer(self._file)
        self._csv.writerow([safe(column) for column in columns])

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows."""
        # A row whose only cell is empty would be a blank line, which is no row: `csv` quotes it by itself.
        self._csv.writerows([cell(value) for value in row] for row in rows)


def cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return safe(join_list(value) if isinstance(value, list) else str(value))


def safe(text: str) -> str:
    """Return a text with an apostrophe before it if a spreadsheet would run it as a formula. Numbers need none."""
    if not FORMULA.match(text.lstrip("'")) or _PLAIN_NUMBER.fullmatch(text):
        return text
    return f"'{text}"


class JsonLinesWriter(_File):
    """Writer of JSON Lines. Values that are missing are left out."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, "utf-8")
        self._columns = columns

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows."""
        for row in rows:
            found = {name: value for name, value in zip(self._columns, row, strict=True) if value is not None}
            self._file.write(json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


class ParquetWriter:
    """Writer of Parquet: each batch is a row group."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._schema = pa.schema([(name, _PARQUET_TYPES[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows."""
        arrays = [
            pa.array([_for_arrow(value) for value in values], type=kind)
            for values, kind in zip(zip(*rows, strict=True), self._schema.types, strict=False)
        ]
        if arrays:
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _for_arrow(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
