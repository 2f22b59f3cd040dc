"""What carries job ids from the relay to the workers: a short queue each, ids and nothing else.

A broker may lose any of it at any time. The ledger knows what was published, and the relay publishes it again. So an id
is taken for good when it is popped, nothing is acknowledged later, and nothing is written to a disk.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

log = logging.getLogger(__name__)

_ID_LENGTH = len(str(UUID(int=0)))


class TransportError(Exception):
    """The broker is out of reach or refuses; what was under way may have arrived or not."""


class Transport(Protocol):
    """A connection to a broker, for one thread; made when it is needed, and anew after an error.

    Every method but `close` raises `TransportError`.
    """

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Append ids to a queue; what returns without an error has arrived."""

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Take up to `most` ids off the front, waiting up to `timeout` seconds for the first."""

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]] | None:
        """The ids that lie in each queue, or None where the broker can't tell without taking them."""

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """The epoch, which is another one when the broker may have lost everything, and each queue's length."""

    def wait_for_doorbell(self, timeout: float) -> None:
        """Return when `models.jobs.wakeup` was rung since the last return, or after `timeout` seconds."""

    def close(self) -> None:
        """Close the connection."""


def job_ids(queue: str, contents: Iterable[str | bytes]) -> list[UUID]:
    """Return the job ids in a queue's contents. Log the number of other items.

    The broker is not trusted: a foreign item must neither end a process nor delay the ids behind it.
    """
    items = list(contents)
    ids = [id for id in map(_job_id, items) if id is not None]
    if len(ids) < len(items):
        log.warning("%s: discarded %d items that are no job ids", queue, len(items) - len(ids))
    return ids


def _job_id(item: str | bytes) -> UUID | None:
    if len(item) != _ID_LENGTH:
        return None
    with suppress(ValueError):
        return UUID(item.decode() if isinstance(item, bytes) else item)
    return None
