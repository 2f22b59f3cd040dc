"""Check the content of an uploaded file, and remove the metadata of images and videos.

Only jobs import this module: it loads Pillow.
"""

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from models.assets import containers
from models.assets.types import IMAGES, VIDEOS, RejectionReason

MAX_PIXELS = 25_000_000
"""Maximum number of pixels of an image, in all frames together: 100 MB of memory."""
MIN_FRAME = 25_000
"""Pixels for which a frame counts at least: an animation of many tiny frames occupies a worker for minutes."""
_OF_THE_DISK = frozenset({errno.EDQUOT, errno.EIO, errno.ENOSPC})
"""Errors that are not the file's: the job is repeated."""
JPEG_QUALITY = 90
_FORMATS = {"image/gif": "GIF", "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


class Rejected(Exception):
    """The file is not what was announced; `reason` says why."""

    def __init__(self, reason: RejectionReason) -> None:
        assert reason in get_args(get_args(RejectionReason)[0])
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked file: the path of its clean version, its size in bytes, and its hash."""

    path: Path
    size: int
    sha256: str


def check(path: Path, content_type: str, size: int, sha256: str | None) -> Checked:
    """Check a file against its announcement and return its clean version, beside it or in its place.

    Raises:
        Rejected: the file differs from its announcement, or can't be read to its end.
    """
    if path.stat().st_size != size:
        raise Rejected("wrong_size")
    if sha256 is not None and hash_of(path) != sha256:
        raise Rejected("wrong_hash")
    clean = path
    if content_type in IMAGES:
        clean = _clean_image(path, content_type)
    elif content_type in VIDEOS:
        _clean_video(path, content_type)
    else:
        _require_no_container(path)
    return Checked(clean, clean.stat().st_size, hash_of(clean))


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clean_image(path: Path, content_type: str) -> Path:
    """Decode an image and encode its pixels again: no metadata and no bytes behind the image are left.

    The colour profile stays, and the orientation that the camera has noted is applied.
    """
    kind = _FORMATS[content_type]
    clean = path.with_name(f"{path.name}-clean")
    try:
        with Image.open(path, formats=[kind]) as image:
            if max(image.width * image.height, MIN_FRAME) * getattr(image, "n_frames", 1) > MAX_PIXELS:
                raise Rejected("too_many_pixels")
            _encode(image, kind, clean)
    except UnidentifiedImageError:
        raise Rejected("wrong_type") from None
    except Image.DecompressionBombError:
        raise Rejected("too_many_pixels") from None
    except Rejected:
        raise
    # Pillow raises errors of many kinds for hostile bytes, also IndexError, struct.error and MemoryError.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise Rejected("damaged") from error
    return clean


def _encode(image: Image.Image, kind: str, into: Path) -> None:
    profile = image.info.get("icc_profile")
    kept: dict[str, object] = {"icc_profile": profile} if profile else {}
    if getattr(image, "n_frames", 1) > 1:
        frames = [frame.copy() for frame in ImageSequence.Iterator(image)]
        shown = [frame.info.get("duration", 0) for frame in frames]
        for frame in frames:
            frame.info = {}
        kept |= {"save_all": True, "append_images": frames[1:], "duration": shown, "loop": image.info.get("loop", 0)}
        frames[0].save(into, kind, **kept)
        return
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        kept["transparency"] = upright.info["transparency"]
    upright.info = {}
    if kind == "JPEG":
        kept |= {"quality": JPEG_QUALITY}
    upright.save(into, kind, **kept)


def _clean_video(path: Path, content_type: str) -> None:
    """Check the container of a video to its end, and overwrite its metadata."""
    try:
        if content_type == "video/mp4":
            containers.clean_mp4(path)
        else:
            containers.require_webm(path)
    except containers.WrongContainer:
        raise Rejected("wrong_type") from None
    except containers.DamagedContainer:
        raise Rejected("damaged") from None


def _require_no_container(path: Path) -> None:
    """Refuse a table that is a spreadsheet, an archive, a picture or a PDF. Its import finds encoding and bad rows."""
    with path.open("rb") as file:
        if file.read(_LONGEST).startswith(_SIGNATURES):
            raise Rejected("wrong_type")


_SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b", b"PAR1", b"GIF8")
"""First bytes of XLSX and ZIP, XLS, PDF, PNG, JPEG, gzip, Parquet and GIF."""
_LONGEST = max(map(len, _SIGNATURES))
