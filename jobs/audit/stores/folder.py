"""Checkpoint store in a folder."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jobs.audit.stores.base import MAX_BYTES, CheckpointConflict, number_in, text_of
from models.audit.checkpoints import name_of

FILE_MODE = 0o400
"""Permissions of a stored file: its owner may read it, and no account may change it."""


class Folder:
    """Folder, preferably on another machine that allows new files and no changes.

    Links, pipes and folders are refused: a link would redirect the written document.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, number: int, document: str) -> None:
        """Write a checkpoint to its own file and sync it; see `Store`."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path / name_of(number)
        content = f"{document}\n".encode()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileExistsError:
            self._complete(path, content)
            return
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._sync()

    def _complete(self, path: Path, content: bytes) -> None:
        """Append the part that a power cut kept from being written. Refuse a file with any other content."""
        with _open_regular(path) as file:
            written = file.read(MAX_BYTES)
            if written == content:
                return
            if not content.startswith(written):
                raise CheckpointConflict(f"{path} is another checkpoint")
            found = os.fstat(file.fileno())
            if found.st_nlink > 1:
                raise OSError(f"{path} has a second hard link, so it is not overwritten")
            os.fchmod(file.fileno(), 0o600)
            with _open_regular(path, os.O_WRONLY | os.O_APPEND) as end:
                if not os.path.samestat(os.fstat(end.fileno()), found):
                    raise OSError(f"{path} has been replaced")
                end.write(content[len(written) :])
                end.flush()
                os.fsync(end.fileno())
            os.fchmod(file.fileno(), FILE_MODE)
        self._sync()

    def _sync(self) -> None:
        """Sync the directory. Without it, a power cut could remove the name of a synced file."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def numbers(self) -> Iterator[int]:
        """Return the numbers of the stored checkpoints in order."""
        found = (number_in(path.name) for path in self._path.glob("checkpoint-*.json"))
        return iter(sorted(number for number in found if number is not None))

    def get(self, number: int) -> str | None:
        """Return a stored checkpoint; None if there is none of this number."""
        with suppress(FileNotFoundError), _open_regular(self._path / name_of(number)) as file:
            return text_of(file.read(MAX_BYTES))
        return None


def _open_regular(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Open a regular file. Do not follow a link or wait for a pipe.

    Raises:
        OSError: it is not a regular file, or it can't be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(f"{path} is a link, and not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return open(descriptor, "wb" if flags & os.O_WRONLY else "rb")
