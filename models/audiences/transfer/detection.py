"""Detect the encoding, the line ends, the delimiter and the columns of an uploaded table."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from models.core.enumerations import enumeration

Format = Annotated[
    Literal["csv", "jsonl"],
    enumeration("ImportFormat", "Format of an import. `csv`: text with delimiters. `jsonl`: one JSON object per line."),
]
Unreadable = Literal["empty_file", "no_columns", "too_many_columns"]
"""Reason why a file can't be imported; too many are more than `MAX_COLUMNS`."""
Encoding = Annotated[
    Literal["utf-8", "utf-16-le", "utf-16-be", "windows-1250", "windows-1251", "windows-1252", "macintosh"],
    enumeration("ImportEncoding", "Encoding of a file. `windows-1252` includes the characters of Latin-1."),
]
FALLBACK: Encoding = "windows-1252"
"""Encoding of a file without a mark that is not UTF-8. Statistics on short samples mistake Spanish for other languages,
so a file in another encoding is imported with `encoding`."""

SAMPLE_BYTES = 256 * 1024
"""Bytes from the beginning of a file that are examined."""
MAX_COLUMNS = 500
DELIMITERS = (",", ";", "\t", "|")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 1 << 20


class FileUnreadable(Exception):
    """The file can't be imported; `reason` says why."""

    def __init__(self, reason: Unreadable) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a table.

    Attributes:
        format: `csv` or `jsonl`.
        encoding: Python's name of the encoding, without a byte-order mark.
        bom: number of bytes of the byte-order mark.
        old_line_ends: whether lines end with a carriage return only.
        delimiter: separates the cells of a CSV file.
        columns: unique names of the columns, in order.
    """

    format: Format
    encoding: str
    bom: int
    old_line_ends: bool
    delimiter: str
    columns: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the file is UTF-8 with ordinary line ends, so that it can be read as it is."""
        return self.encoding == "utf-8" and not self.old_line_ends


def detect(path: Path, kind: Format, encoding: Encoding | None = None) -> Layout:
    """Return the layout of a file.

    Args:
        path: the file.
        kind: its format.
        encoding: its encoding if it has no byte-order mark; None detects it.

    Raises:
        FileUnreadable: the file has no readable text or no columns.
    """
    with path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
    bom, detected = _encoding(sample)
    used = detected if bom or encoding is None else encoding
    text = codecs.getincrementaldecoder(used)("replace").decode(sample[bom:])
    if not text.strip("\x00 \t\r\n,;|"):
        raise FileUnreadable("empty_file")
    old_line_ends = kind == "csv" and "\n" not in text and "\r" in text
    text = text.replace("\r", "\n") if old_line_ends else text
    if kind == "jsonl":
        return Layout("jsonl", used, bom, old_line_ends, "", _keys(text))
    delimiter = find_delimiter(text)
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    return Layout("csv", used, bom, old_line_ends, delimiter, _names(header))


def _encoding(sample: bytes) -> tuple[int, str]:
    """Return the length of the byte-order mark and the encoding of a sample."""
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            return len(mark), encoding
    without_mark = _utf16_without_mark(sample)
    if without_mark:
        return 0, without_mark
    if _is_mostly_utf8(sample):
        return 0, "utf-8"
    return 0, FALLBACK


def _utf16_without_mark(sample: bytes) -> str | None:
    """Return UTF-16 if nearly every second byte is zero, as in Western text."""
    pairs = len(sample) // 2
    if pairs < 2:
        return None
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        others = sample[0::2] if encoding == "utf-16-le" else sample[1::2]
        if zeros.count(0) > 0.7 * pairs and others.count(0) < 0.1 * pairs:
            return encoding
    return None


def _is_mostly_utf8(sample: bytes) -> bool:
    """Report whether at most half of the characters beyond ASCII are damaged: one damaged row changes no encoding."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)
    wrong = text.count("\ufffd")
    return not wrong or sum(not character.isascii() for character in text) >= 2 * wrong


def find_delimiter(text: str) -> str:
    """Return the delimiter with which most of the first 100 rows have the header's number of cells, and more than one.

    A file with one column has none of them: the comma is returned.
    """
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        counts = _cells_per_row(text, delimiter)
        if not counts or counts[0] < 2:
            continue
        score = (Counter(counts)[counts[0]] / len(counts), counts[0])
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _cells_per_row(text: str, delimiter: str) -> list[int]:
    counts: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                counts.append(len(cells))
            if len(counts) == 100:
                return counts
    except csv.Error:
        pass
    # The sample ends within a row.
    return counts[:-1] if len(counts) > 2 else counts


def _names(header: Sequence[str]) -> tuple[str, ...]:
    """Return unique names: a repeated one gets a number, and a missing one is called `column 3`."""
    while header and not header[-1].strip():
        header = header[:-1]
    if not header:
        raise FileUnreadable("no_columns")
    if len(header) > MAX_COLUMNS:
        raise FileUnreadable("too_many_columns")
    names: list[str] = []
    taken = {cell.strip() for cell in header}
    for number, cell in enumerate(header, 1):
        plain = _printable(cell) or f"column {number}"
        name, repeated = plain, 1
        while name in names or (repeated > 1 and name in taken):
            repeated += 1
            name = f"{plain} ({repeated})"
        names.append(name)
    return tuple(names)


def _printable(cell: str) -> str:
    return "".join(one if one.isprintable() else " " for one in cell).strip()[:200]


def _keys(text: str) -> tuple[str, ...]:
    """Return the keys of the objects in the sample, in the order of their first use."""
    found: dict[str, None] = {}
    for line in text.splitlines()[:1000]:
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeError):
            continue
        if isinstance(row, dict):
            found.update(dict.fromkeys(str(key) for key in row))
    if not found:
        raise FileUnreadable("no_columns")
    if len(found) > MAX_COLUMNS:
        raise FileUnreadable("too_many_columns")
    return tuple(found)


def to_utf8(path: Path, layout: Layout) -> Path:
    """Return a file with the same rows in UTF-8 and with ordinary line ends: the path itself, or a copy beside it.

    Bytes that can't be decoded become U+FFFD, which the reader refuses in its row.
    """
    if layout.is_plain:
        return path
    copy = path.with_name(f"{path.name}-utf8")
    decoder = codecs.getincrementaldecoder(layout.encoding)("replace")
    with path.open("rb") as source, copy.open("wb") as target:
        source.seek(layout.bom)
        while chunk := source.read(_CHUNK):
            target.write(_line_ends(decoder.decode(chunk), layout))
        target.write(_line_ends(decoder.decode(b"", final=True), layout))
    return copy


def _line_ends(text: str, layout: Layout) -> bytes:
    return (text.replace("\r", "\n") if layout.old_line_ends else text).encode("utf-8", "surrogatepass")
