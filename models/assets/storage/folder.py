"""Storage in a local directory. The web tier receives and sends the files (`web.files`)."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from models.assets.storage import tickets
from models.assets.storage.base import AREAS, Area, SignedUpload, StoredObject, TooBig, split_key


class Folder:
    """Directory with a subdirectory for each area. Several machines need a shared one."""

    def __init__(self, root: Path, base_url: str) -> None:
        self.root = root
        self._base = base_url.rstrip("/")

    def sign_upload(self, key: str, *, content_type: str, size: int, expires_at: datetime) -> SignedUpload:
        """Return the request that uploads a file; see `Storage`."""
        query = tickets.sign("PUT", key, expires_at, {"type": content_type, "size": str(size)})
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        return SignedUpload("PUT", f"{self._base}/files/{key}?{query}", headers, expires_at)

    def sign_download(self, key: str, *, filename: str, content_type: str, expires_at: datetime) -> str:
        """Return a URL that downloads a private file; see `Storage`."""
        query = tickets.sign("GET", key, expires_at, {"type": content_type, "name": filename})
        return f"{self._base}/files/{key}?{query}"

    def public_url(self, name: str) -> None:
        """Return None: this application sends the files; see `Storage`."""

    def fetch(self, key: str, into: Path, *, max_bytes: int) -> int:
        """Copy a file to a path; see `Storage`."""
        source = self.path(key)
        size = source.stat().st_size
        if size > max_bytes:
            raise TooBig
        shutil.copyfile(source, into)
        return size

    def store(self, key: str, source: Path, *, content_type: str, cache_control: str) -> None:
        """Copy a file into the directory; see `Storage`."""
        path = self.path(key)
        with Incoming(path) as incoming, source.open("rb") as file:
            shutil.copyfileobj(file, incoming.file)
            incoming.replace()

    def delete(self, key: str) -> None:
        """Delete a file; see `Storage`."""
        self.path(key).unlink(missing_ok=True)

    def list(self, area: Area, prefix: str = "") -> Iterator[StoredObject]:
        """Return the files of an area; see `Storage`. Uploads that have not ended are included."""
        folder = self.root / area
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if name.startswith(prefix):
                    found = (folder / name).stat()
                    yield StoredObject(f"{area}/{name}", found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def path(self, key: str) -> Path:
        """Return the path of a key.

        Raises:
            ValueError: it is not a key.
        """
        area, name = split_key(key)
        return self.root / area / name

    def prepare(self) -> None:
        """Create the directories."""
        for area in AREAS:
            (self.root / area).mkdir(mode=0o700, parents=True, exist_ok=True)


class Incoming:
    """File that is being written. It appears under its name when it is complete and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.part-{token_hex(8)}")
        self.file: BinaryIO
        self.size = 0

    def __enter__(self) -> "Incoming":
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self.file = open(descriptor, "wb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.file.write(data)
        self.size += len(data)

    def create(self) -> None:
        """Give the file its name.

        Raises:
            FileExistsError: there is a file of this name.
        """
        self._sync()
        os.link(self._temporary, self._path)
        self._sync_folder()

    def replace(self) -> None:
        """Give the file its name, in place of a file of this name."""
        self._sync()
        os.replace(self._temporary, self._path)
        self._sync_folder()

    def _sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def _sync_folder(self) -> None:
        # Without it, a power cut could remove the name of a synced file.
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
