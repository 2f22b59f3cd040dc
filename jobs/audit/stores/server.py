"""Checkpoint store on an HTTP server that accepts PUT, for example WebDAV or an object store behind a gateway."""

from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote

from jobs.audit.stores import base
from jobs.audit.stores.base import require_stored, text_of
from models.audit.checkpoints import name_of
from models.core.http_fetch import FetchError, request

MAX_CHECKPOINTS = 1_000_000
"""Most checkpoints that are listed: one an hour for more than a hundred years."""


class Server:
    """Server that accepts PUT with `If-None-Match: *`. A user and password in the URL are sent as basic credentials."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._path = url.path.rstrip("/")
        self._host = url.netloc.rpartition("@")[2]
        self._headers = {}
        if url.username:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(credentials).decode()}"

    def put(self, number: int, document: str) -> None:
        """Store a checkpoint; see `Store`. Read first: a server that ignores `If-None-Match` would overwrite it."""
        stored = self.get(number)
        if stored is None:
            self._create(number, document)
        require_stored(self, number, document, stored)

    def _create(self, number: int, document: str) -> None:
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        status, _ = self._request("PUT", number, f"{document}\n".encode(), headers)
        # 409 and 412: another process may have stored it. `put` reads it again.
        if status not in (409, 412) and not 200 <= status < 300:
            raise OSError(f"{self._url.hostname} answers {status}")

    def numbers(self) -> Iterator[int]:
        """Return the numbers of the stored checkpoints, from 1 to the last before a gap."""
        number = 1
        while number <= MAX_CHECKPOINTS and self.get(number) is not None:
            yield number
            number += 1

    def get(self, number: int) -> str | None:
        """Return a stored checkpoint; None if there is none of this number."""
        status, content = self._request("GET", number)
        if status == 404:
            return None
        if status != 200:
            raise OSError(f"{self._url.hostname} answers {status}")
        return text_of(content)

    def _request(
        self, method: str, number: int, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        url = self._url._replace(netloc=self._host, path=f"{self._path}/{name_of(number)}", query="", fragment="")
        try:
            answer = request(
                method,
                url.geturl(),
                timeout=base.TIMEOUT,
                max_bytes=base.MAX_BYTES,
                content=content,
                headers={**self._headers, **(headers or {})},
            )
        except FetchError as error:
            raise OSError(f"{self._url.hostname}: {error}") from error
        return answer.status, answer.content
