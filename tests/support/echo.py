"""Test service `echo`: contract and local implementation. Its HTTP counterpart is tests/counterparts/echo.py."""

from typing import Protocol

import msgspec

from jobs.passport.contract import Operation, Service
from jobs.passport.gateway import connect
from jobs.passport.local import once
from models.core.database import value
from models.core.errors import Conflict


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Store a note."""

    text: str
    email: str = "ana@example.org"
    secret_code: str = "s3cret"


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """A stored note."""

    number: int
    text: str


class Echo(Protocol):
    """Stores notes."""

    def note(self, request: Note, *, key: str) -> Noted:
        """Store a note."""
        ...


SERVICE = Service(
    "echo",
    operations=(Operation("note", Note, Noted, refusals=("conflict",), timeout=0.5, redacted=("secret_code",)),),
)


class LocalEcho:
    """Stores notes in the table `app.echo_notes` of the tests."""

    def note(self, request: Note, *, key: str) -> Noted:
        """Store a note."""
        return once("echo", _store, request, Noted, key=key)


def _store(request: Note) -> Noted:
    if request.text == "full":
        raise Conflict("The notebook is full.")
    number = value("INSERT INTO app.echo_notes (text) VALUES (%s) RETURNING id", (request.text,))
    return Noted(number=number, text=request.text)


def echo() -> Echo:
    """Return the service."""
    return connect(SERVICE, LocalEcho)
