"""Where checkpoints of the audit trail are kept: outside the database, each written once and never again.

Which one is said by a URL: `file:` a folder (`file:///mnt/worm/audit`, or `file:var/checkpoints` in the checkout),
`s3:` a bucket (`jobs.audit.checkpoint_buckets`), or `https:` whatever takes a PUT with `If-None-Match: *`: a WebDAV
folder, an object store behind a gateway. A user and password in that URL are sent as basic authentication.
"""

import base64
import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from models.audit.checkpoints import name_of
from models.core.http_fetch import FetchError, request

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 15.0
"""Longest time of one whole request to a server, in seconds."""
MOST_BYTES = 8 * 1024 * 1024
"""Size of the largest document that is read, in bytes. A document with the heads of 25,000 chains is smaller."""
MOST_CHECKPOINTS = 1_000_000
"""Most checkpoints that are listed: one an hour for more than a hundred years."""
FILE_MODE = 0o400
"""Permissions of a stored file: its owner may read it, and no account may change it."""

_NAME = re.compile(r"checkpoint-(\d{10,})\.json")


class CheckpointConflict(Exception):
    """The store has another checkpoint of that number: this database is not the one that made it, or was set back."""


def number_in(name: str) -> int | None:
    """The number of the checkpoint that is stored under a name, if one is."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def text_of(content: bytes) -> str:
    """The document that is stored. What isn't text any more was changed, and is found to be."""
    return content.decode(errors="replace").removesuffix("\n")


class Store(Protocol):
    """Takes each checkpoint once."""

    def put(self, number: int, document: str) -> None:
        """Store a checkpoint durably. Do nothing if it is stored already.

        Read the checkpoint back from a server: an answer of success alone does not prove that it is stored.

        Raises:
            CheckpointConflict: the store has another checkpoint of that number.
            OSError: the store can't store it now.
        """

    def numbers(self) -> Iterator[int]:
        """The numbers of those that are stored, in order."""

    def get(self, number: int) -> str | None:
        """One that is stored, or None."""


def require_stored(store: Store, number: int, document: str, stored: str | None = None) -> None:
    """Compare what a store has with the document that was put there.

    Args:
        store: the store of the checkpoint.
        number: the checkpoint's number.
        document: the expected document.
        stored: the stored document; read from the store if None.

    Raises:
        CheckpointConflict: the store has another document of that number.
        OSError: the store has no such document, or can't be reached.
    """
    found = store.get(number) if stored is None else stored
    if found is None:
        raise OSError(f"the store does not have checkpoint {number}, although it took it")
    if found != document:
        raise CheckpointConflict(f"the store has another checkpoint {number}")


class Folder:
    """A folder, best on another machine where files can be added and not changed.

    Links, pipes and folders are refused: a link would redirect the written document.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, number: int, document: str) -> None:
        """See `Store`."""
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
        """Append what a power cut kept from being written; a file that says anything else stays as it is."""
        with _opened(path) as file:
            written = file.read(MOST_BYTES)
            if written == content:
                return
            if not content.startswith(written):
                raise CheckpointConflict(f"{path} is another checkpoint")
            found = os.fstat(file.fileno())
            if found.st_nlink > 1:
                raise OSError(f"{path} has another name: it is not overwritten")
            os.fchmod(file.fileno(), 0o600)
            with _opened(path, os.O_WRONLY | os.O_APPEND) as end:
                if not os.path.samestat(os.fstat(end.fileno()), found):
                    raise OSError(f"{path} has been replaced")
                end.write(content[len(written) :])
                end.flush()
                os.fsync(end.fileno())
            os.fchmod(file.fileno(), FILE_MODE)
        self._sync()

    def _sync(self) -> None:
        """A new name is safe when its directory has been written."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def numbers(self) -> Iterator[int]:
        """See `Store`."""
        found = (number_in(path.name) for path in self._path.glob("checkpoint-*.json"))
        return iter(sorted(number for number in found if number is not None))

    def get(self, number: int) -> str | None:
        """See `Store`."""
        with suppress(FileNotFoundError), _opened(self._path / name_of(number)) as file:
            return text_of(file.read(MOST_BYTES))
        return None


def _opened(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Open a regular file, without following a link or waiting for a pipe.

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


class Server:
    """A server that takes PUT."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._path = url.path.rstrip("/")
        self._host = url.netloc.rpartition("@")[2]
        self._headers = {}
        if url.username:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"

    def put(self, number: int, document: str) -> None:
        """See `Store`. Read the document first: some servers ignore conditions and overwrite it."""
        stored = self.get(number)
        if stored is None:
            self._create(number, document)
        require_stored(self, number, document, stored)

    def _create(self, number: int, document: str) -> None:
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        status, _ = self._ask("PUT", number, f"{document}\n".encode(), headers)
        if status not in (409, 412) and not 200 <= status < 300:
            raise OSError(f"{self._url.hostname} answers {status}")

    def numbers(self) -> Iterator[int]:
        """See `Store`: from the first on as long as there is one."""
        number = 1
        while number <= MOST_CHECKPOINTS and self.get(number) is not None:
            yield number
            number += 1

    def get(self, number: int) -> str | None:
        """See `Store`."""
        status, content = self._ask("GET", number)
        if status == 404:
            return None
        if status != 200:
            raise OSError(f"{self._url.hostname} answers {status}")
        return text_of(content)

    def _ask(
        self, method: str, number: int, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        url = self._url._replace(netloc=self._host, path=f"{self._path}/{name_of(number)}", query="", fragment="")
        try:
            answer = request(
                method,
                url.geturl(),
                timeout=TIMEOUT,
                max_bytes=MOST_BYTES,
                content=content,
                headers={**self._headers, **(headers or {})},
            )
        except FetchError as error:
            raise OSError(f"{self._url.hostname}: {error}") from error
        return answer.status, answer.content


def store_at(url: str) -> Store:
    """The store that a URL names; a bare path is a folder.

    Raises:
        ValueError: it names none.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Folder(ROOT / unquote(parts.path))
    if parts.scheme in ("http", "https") and parts.hostname:
        return Server(parts)
    if parts.scheme == "s3" and parts.netloc:
        from jobs.audit.checkpoint_buckets import Bucket  # not above: the vendor's SDK takes its time

        return Bucket(parts)
    raise ValueError(f"a checkpoint store is file:…, https://… or s3://…, not {parts.scheme}:")
