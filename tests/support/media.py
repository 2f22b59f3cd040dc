"""Small files of each type, sound and hostile."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

HTML = b"<script>alert(document.domain)</script>"
PLACE = b"+40.4154-003.7074/"
"""Place of a recording, as phones write it into videos."""


def image(kind: str, size: tuple[int, int] = (8, 4), **options: Any) -> bytes:
    """Return an image with a red left half."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    into = io.BytesIO()
    picture.save(into, kind, **options)
    return into.getvalue()


def jpeg_of_a_phone(orientation: int = 6) -> bytes:
    """Return a JPEG with a place in its EXIF data, to be shown rotated."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Phone"
    exif.get_ifd(0x8825)[2] = (40.0, 24.0, 55.0)
    return image("JPEG", (64, 32), exif=exif, quality=95)


def gif(frames: int) -> bytes:
    """Return an animation."""
    pictures = [Image.new("RGB", (4, 4), (number * 40, 0, 0)) for number in range(frames)]
    into = io.BytesIO()
    pictures[0].save(into, "GIF", save_all=True, append_images=pictures[1:], duration=50, loop=0)
    return into.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG whose head announces these dimensions; its pixels are missing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def box(kind: bytes, content: bytes = b"") -> bytes:
    """Return a box of an MP4 file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mp4(*more: bytes) -> bytes:
    """Return the boxes of an MP4 file that a phone has recorded, without pictures."""
    place = box(b"udta", box(b"\xa9xyz", PLACE))
    movie = box(b"moov", box(b"mvhd", bytes(100)) + box(b"trak", box(b"tkhd", bytes(84)) + place) + place)
    return box(b"ftyp", b"isom" + bytes(4) + b"isommp42") + movie + box(b"mdat", b"pictures") + b"".join(more)


def webm(segment: bytes = b"clusters", *, known: bool = True) -> bytes:
    """Return the elements of a WebM file, without pictures."""
    head = b"\x42\x82\x84webm"
    size = bytes([0x80 | len(segment)]) if known else b"\xff"
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(head)]) + head + b"\x18\x53\x80\x67" + size + segment
