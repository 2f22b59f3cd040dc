"""Protocol of checkpoint stores. A store keeps each checkpoint as it was written first."""

import re
from collections.abc import Iterator
from typing import Protocol

TIMEOUT = 15.0
"""Longest time of one whole request to a server, in seconds."""
MAX_BYTES = 8 * 1024 * 1024
"""Size of the largest document that is read, in bytes. A document with the heads of 25,000 chains is smaller."""

_NAME = re.compile(r"checkpoint-(\d{10,})\.json")


class CheckpointConflict(Exception):
    """The store has another checkpoint of this number: by another database, or by this one before a restore."""


class Store(Protocol):
    """Store that accepts each checkpoint once."""

    def put(self, number: int, document: str) -> None:
        """Store a checkpoint durably. Do nothing if it is stored already.

        A server's checkpoint is read back: an answer of success alone does not prove that it is stored.

        Raises:
            CheckpointConflict: the store has another checkpoint of this number.
            OSError: the store can't store it now.
        """

    def numbers(self) -> Iterator[int]:
        """Return the numbers of the stored checkpoints in order."""

    def get(self, number: int) -> str | None:
        """Return a stored checkpoint; None if there is none of this number."""


def number_in(name: str) -> int | None:
    """Return the number of the checkpoint that has this name; None if the name is not a checkpoint's."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def text_of(content: bytes) -> str:
    """Return a stored document. Replace bytes that are no text: verification then reports a changed document."""
    return content.decode(errors="replace").removesuffix("\n")


def require_stored(store: Store, number: int, document: str, stored: str | None = None) -> None:
    """Compare the stored document with the expected one.

    Args:
        store: the store of the checkpoint.
        number: the checkpoint's number.
        document: the expected document.
        stored: the stored document; read from the store if None.

    Raises:
        CheckpointConflict: the store has another document of this number.
        OSError: the store has no document of this number, or can't be reached.
    """
    found = store.get(number) if stored is None else stored
    if found is None:
        raise OSError(f"the store does not have checkpoint {number}, although it accepted it")
    if found != document:
        raise CheckpointConflict(f"the store has another checkpoint {number}")
