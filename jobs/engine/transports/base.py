"""The interface of a transport: short queues of job ids from the relay to the workers.

A broker may lose ids at any time: the ledger records the published jobs, and the relay publishes lost ones again.
So a popped id is not acknowledged later, and nothing is written to a disk.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

log = logging.getLogger(__name__)

_ID_LENGTH = len(str(UUID(int=0)))


class TransportError(Exception):
    """The broker is out of reach or refuses. The ids of the failed call may have arrived or not."""


class Transport(Protocol):
    """A connection to a broker, for one thread. It is opened on first use, and again after an error.

    Every method but `close` raises `TransportError`.
    """

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Append ids to a queue. They have arrived when the call returns without an error."""

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Remove and return up to `most` ids from the front. Wait up to `timeout` seconds for the first."""

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]] | None:
        """Return the ids in each queue, or None if the broker cannot list them without removing them."""

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """Return the epoch and each queue's length. The epoch changes when the broker may have lost all ids."""

    def wait_for_wakeup(self, timeout: float) -> None:
        """Return when `models.jobs.wakeup` has sent a wake-up since the last return, or after `timeout` seconds."""

    def close(self) -> None:
        """Close the connection."""


def job_ids(queue: str, contents: Iterable[str | bytes]) -> list[UUID]:
    """Return the job ids in a queue's contents, and log the number of other items.

    The broker is not trusted: a foreign item must neither end a process nor delay the ids behind it.
    """
    items = list(contents)
    ids = [id for id in map(_job_id, items) if id is not None]
    if len(ids) < len(items):
        log.warning("%s: discarded %d items that are not job ids", queue, len(items) - len(ids))
    return ids


def _job_id(item: str | bytes) -> UUID | None:
    if len(item) != _ID_LENGTH:
        return None
    with suppress(ValueError):
        return UUID(item.decode() if isinstance(item, bytes) else item)
    return None
