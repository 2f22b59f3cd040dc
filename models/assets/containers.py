"""Containers of videos: MP4 (ISO/IEC 14496-12) and WebM (Matroska, RFC 9559).

The structure is checked, not the pictures: bytes that belong to no box are refused.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BRANDS = frozenset({b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"dash", b"qt  "})
"""Brands of MP4 files that browsers play, by the first box."""
_HOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"})
"""Boxes that contain boxes."""
_METADATA = frozenset({b"udta", b"meta", b"uuid"})
"""Boxes with metadata, such as the place of the recording."""
_TOP = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"emsg"})
_ZEROS = bytes(1 << 16)
_MAX_BOXES = 100_000
_MAX_DEPTH = 8


class WrongContainer(Exception):
    """The file is no video of this type."""


class DamagedContainer(Exception):
    """The file ends too early, or has bytes that belong to no part."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A box: its type, the position of its type, and the range of its content."""

    kind: bytes
    at: int
    start: int
    end: int


def clean_mp4(path: Path) -> None:
    """Check the boxes of an MP4 file and overwrite its metadata with zeros.

    Raises:
        WrongContainer: it does not begin as an MP4 file.
        DamagedContainer: a box ends outside of the file, or the file has no pictures.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        head = _read(file, 0, 12)
        if head[4:8] != b"ftyp" or head[8:12] not in BRANDS:
            raise WrongContainer
        boxes = _Boxes(file)
        top = list(boxes.within(0, size))
        kinds = {box.kind for box in top}
        if not kinds <= _TOP | _METADATA or not kinds >= {b"moov", b"mdat"}:
            raise DamagedContainer
        for box in top:
            boxes.erase_metadata(box)


class _Boxes:
    """Boxes of a file, up to `_MAX_BOXES` and `_MAX_DEPTH`: a hostile file would occupy a worker otherwise."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_BOXES

    def within(self, start: int, end: int) -> Iterator[_Box]:
        """Return the boxes in a range, which they must fill."""
        while start < end:
            length, kind = struct.unpack(">I4s", _read(self._file, start, 8))
            content = start + 8
            if length == 1:
                (length,) = struct.unpack(">Q", _read(self._file, content, 8))
                content += 8
            elif length == 0:
                length = end - start
            self._left -= 1
            if start + length > end or start + length < content or self._left < 0:
                raise DamagedContainer
            yield _Box(kind, start + 4, content, start + length)
            start += length

    def erase_metadata(self, box: _Box, depth: int = 0) -> None:
        """Overwrite a box with metadata, or those inside of a box."""
        if box.kind in _METADATA:
            self._file.seek(box.at)
            self._file.write(b"free")
            self._file.seek(box.start)
            for position in range(box.start, box.end, len(_ZEROS)):
                self._file.write(_ZEROS[: box.end - position])
        elif box.kind in _HOLDERS:
            if depth == _MAX_DEPTH:
                raise DamagedContainer
            for inner in self.within(box.start, box.end):
                self.erase_metadata(inner, depth + 1)


def require_webm(path: Path) -> None:
    """Check the two elements of a WebM file: its head and its segment, which must end with the file.

    Raises:
        WrongContainer: it does not begin as a WebM file.
        DamagedContainer: the segment ends before or behind the file.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if _read(file, 0, 4) != b"\x1a\x45\xdf\xa3":
            raise WrongContainer
        head_size, start = _size_at(file, 4)
        if head_size is None or b"\x42\x82\x84webm" not in _read(file, start, min(head_size, 1024)):
            raise WrongContainer
        start += head_size
        if _read(file, start, 4) != b"\x18\x53\x80\x67":
            raise DamagedContainer
        segment_size, start = _size_at(file, start + 4)
        # Recorders in browsers write a segment of unknown size, which reaches to the end of the file.
        if segment_size is not None and start + segment_size != size:
            raise DamagedContainer


def _size_at(file: BinaryIO, at: int) -> tuple[int | None, int]:
    """Return the size of an element (None if unknown) and the position of its content (RFC 8794, section 6)."""
    first = _read(file, at, 1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        raise DamagedContainer
    number = int.from_bytes(_read(file, at, width), "big") & ((1 << 7 * width) - 1)
    return (None if number == (1 << 7 * width) - 1 else number), at + width


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    found = file.read(size)
    if len(found) < size:
        raise DamagedContainer
    return found
