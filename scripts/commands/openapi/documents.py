"""OpenAPI documents of releases, of this checkout, of files and of running servers."""

import json
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError

RELEASES = ROOT / "docs" / "openapi"
"""The kept documents, one for each version."""

SERVER = "https://api.companon.example"
"""URL of `servers` in kept documents, where no installation is meant."""

TIMEOUT = 10.0
"""Seconds that a running server may take."""

Document = dict[str, Any]


def present(server: str = SERVER) -> Document:
    """Return the document of this checkout."""
    from web.app import application
    from web.openapi.document import document

    return document(application, server)


def releases() -> list[str]:
    """Return the versions of the kept documents, the oldest first."""
    return sorted((file.stem for file in RELEASES.glob("*.json")), key=_numbers)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def kept(version: str) -> Document:
    """Return the kept document of a version."""
    return _read(RELEASES / f"{version}.json")


def named(name: str) -> Document:
    """Return the document of a version, a file or a server.

    Raises:
        SetupError: there is none, or it is not JSON.
    """
    if name in releases():
        return kept(name)
    return _fetched(name) if name.startswith(("http://", "https://")) else _read(Path(name))


def _read(file: Path) -> Document:
    try:
        return _document(file.read_bytes(), str(file))
    except OSError as error:
        raise SetupError(f"{file}: {error.strerror}. Known versions: {', '.join(releases()) or 'none'}.") from None


def _fetched(url: str) -> Document:
    address = url if url.endswith(".json") else f"{url.rstrip('/')}/api/v1/openapi.json"
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:
            return _document(answer.read(), address)
    except (URLError, TimeoutError) as error:
        raise SetupError(f"{address} does not answer: {error}") from None


def _document(raw: bytes, source: str) -> Document:
    try:
        found: Document = json.loads(raw)
    except ValueError as error:
        raise SetupError(f"{source} is not JSON: {error}") from None
    return found


def text(document: Document) -> str:
    """Return a document as JSON for people."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
