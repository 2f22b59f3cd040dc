"""Protocol of storages."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

Area = Literal["uploads", "media", "private"]
AREAS: tuple[Area, ...] = ("uploads", "media", "private")

FOR_EVER = "public, max-age=31536000, immutable"
"""`Cache-Control` of public files: their names contain a hash of their content."""
NOT_STORED = "no-store"
"""`Cache-Control` of private files."""

_KEY = re.compile(rf"({'|'.join(AREAS)})/([A-Za-z0-9][A-Za-z0-9._-]{{0,120}})")


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """Request that uploads one file: it is valid for this size, type and key only."""

    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A stored file."""

    key: str
    size: int
    modified_at: datetime


class Storage(Protocol):
    """Storage of files. Signing is local computation; every other method may call a server."""

    def sign_upload(self, key: str, *, content_type: str, size: int, expires_at: datetime) -> SignedUpload:
        """Return the request that uploads a file of exactly this type and size, once, until it expires."""

    def sign_download(self, key: str, *, filename: str, content_type: str, expires_at: datetime) -> str:
        """Return a URL that downloads a private file under a name until it expires."""

    def public_url(self, name: str) -> str | None:
        """Return where a client finds the file `media/<name>`; None if this application sends it."""

    def fetch(self, key: str, into: Path, *, max_bytes: int) -> int:
        """Copy a file to a path and return its size in bytes. Stop after `max_bytes`.

        Raises:
            FileNotFoundError: there is no such file.
            TooBig: the file has more than `max_bytes`.
            OSError: the storage does not respond.
        """

    def store(self, key: str, source: Path, *, content_type: str, cache_control: str) -> None:
        """Store a file durably, in place of one with the same key."""

    def delete(self, key: str) -> None:
        """Delete a file. Do nothing if there is none."""

    def list(self, area: Area, prefix: str = "") -> Iterator[StoredObject]:
        """Return the files of an area whose names begin with `prefix`, ordered by name."""


class TooBig(Exception):
    """The file has more bytes than expected."""


def split_key(key: str) -> tuple[str, str]:
    """Return area and name of a key.

    Raises:
        ValueError: it is not a key. No key leads out of its area.
    """
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is not a key of the storage")
    return found[1], found[2]


def attachment(filename: str) -> str:
    """Return the `Content-Disposition` that makes browsers save a file under a name (RFC 6266)."""
    simple = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
    return f"attachment; filename=\"{simple}\"; filename*=UTF-8''{quote(filename, safe='')}"
