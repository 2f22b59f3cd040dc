"""Where checkpoints of the audit trail are kept: outside the database, each written once and never again.

Which one is said by a URL: `file:` a folder (`file:///mnt/worm/audit`, or `file:var/checkpoints` in the checkout),
`s3:` a bucket (`jobs.checkpoint_buckets`), or `https:` whatever takes a PUT with `If-None-Match: *`: a WebDAV folder,
an object store behind a gateway. A user and password in that URL are sent as basic authentication.
"""

import base64
import http.client
import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from models.checkpoints import name_of

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 15.0
"""Seconds to wait for a server."""

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
        """Store it, and return when it will outlive a power cut; nothing happens if it is there already.

        Raises:
            CheckpointConflict: there is another one of that number.
            OSError: the store doesn't take it now.
        """

    def numbers(self) -> Iterator[int]:
        """The numbers of those that are stored, in order."""

    def get(self, number: int) -> str | None:
        """One that is stored, or None."""


class Folder:
    """A folder; its own file system, or better another machine's, where files can be added and not changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, number: int, document: str) -> None:
        """See `Store`."""
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path / name_of(number)
        content = f"{document}\n".encode()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            if path.read_bytes() == content:
                return
            self._complete(path, content)
            return
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._sync()

    def _complete(self, path: Path, content: bytes) -> None:
        """Append what a power cut kept from being written; a file that says anything else stays as it is."""
        written = path.read_bytes()
        if not content.startswith(written):
            raise CheckpointConflict(f"{path} is another checkpoint")
        path.chmod(0o644)
        with path.open("ab") as file:
            file.write(content[len(written) :])
            file.flush()
            os.fsync(file.fileno())
        path.chmod(0o444)
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
        with suppress(FileNotFoundError):
            return text_of((self._path / name_of(number)).read_bytes())
        return None


class Server:
    """A server that takes PUT."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._path = url.path.rstrip("/")
        self._headers = {}
        if url.username:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"

    def put(self, number: int, document: str) -> None:
        """See `Store`. It is asked first: some servers know of no conditions, and write over what they have."""
        stored = self.get(number)
        if stored is None:
            stored = document if self._create(number, document) else self.get(number)
        if stored != document:
            raise CheckpointConflict(f"{self._url.hostname} has another checkpoint {number}")

    def _create(self, number: int, document: str) -> bool:
        """Whether it is there now, and wasn't."""
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        status, _ = self._ask("PUT", number, f"{document}\n".encode(), headers)
        if status not in (409, 412) and not 200 <= status < 300:
            raise OSError(f"{self._url.hostname} answers {status}")
        return status not in (409, 412)

    def numbers(self) -> Iterator[int]:
        """See `Store`: from the first on as long as there is one."""
        number = 1
        while self.get(number) is not None:
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
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        assert self._url.hostname
        with closing(kind(self._url.hostname, self._url.port, timeout=TIMEOUT)) as connection:
            try:
                target = f"{self._path}/{name_of(number)}"
                connection.request(method, target, content, {**self._headers, **(headers or {})})
                answer = connection.getresponse()
                return answer.status, answer.read()
            except http.client.HTTPException as error:
                raise OSError(f"{self._url.hostname}: {error}") from error


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
        from jobs.checkpoint_buckets import Bucket  # not above: the vendor's SDK takes its time

        return Bucket(parts)
    raise ValueError(f"a checkpoint store is file:…, https://… or s3://…, not {parts.scheme}:")
