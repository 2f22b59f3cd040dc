"""Job ids in Redis (7 or newer), one list for each queue; also in the primary that Sentinels name.

A primary that has become a replica answers READONLY. The client then closes the connection and queries the
Sentinels again. Replication is asynchronous: ids lost in a failover are published again, like all lost ids.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import cast
from uuid import UUID, uuid4

import redis

from jobs.engine.transports.base import TransportError, job_ids
from models.jobs import brokers
from models.jobs.brokers import WAKEUP

log = logging.getLogger(__name__)

_EPOCH = "companon:epoch"

# In one step, so that a key which another process has replaced meanwhile stays.
_DISCARD_UNLESS_TYPE = """
local found = redis.call('TYPE', KEYS[1]).ok
if found == 'none' or found == ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
"""


class RedisTransport:
    """The transport over `redis://`, `rediss://`, `unix://` or `sentinel://`. May be shared by threads."""

    def __init__(self, url: str) -> None:
        self._client = brokers.redis_client(url, patience=3.0, connect_patience=1.0)

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Append ids to a list."""
        with self._errors([queue]):
            self._client.rpush(_key(queue), *map(str, ids))

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Pop ids with one command that waits in Redis, so that an idle worker does not poll."""
        with self._errors([queue]):
            answer = self._client.blmpop(timeout, 1, _key(queue), direction="LEFT", count=most)
        return job_ids(queue, cast("list[str]", answer[1])) if answer else []

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]] | None:
        """Return the contents of the lists."""
        with self._errors(queues), self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.lrange(_key(queue), 0, -1)
            lists = pipe.execute()
        return {queue: job_ids(queue, items) for queue, items in zip(queues, lists, strict=True)}

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """Return the epoch and the lists' lengths. The epoch is a key, set again when Redis has lost its data."""
        with self._errors(queues), self._client.pipeline(transaction=False) as pipe:
            pipe.set(_EPOCH, str(uuid4()), nx=True)
            pipe.get(_EPOCH)
            for queue in queues:
                pipe.llen(_key(queue))
            _, epoch, *lengths = pipe.execute()
        return epoch, dict(zip(queues, lengths, strict=True))

    def wait_for_wakeup(self, timeout: float) -> None:
        """Wait in Redis for a wake-up."""
        with self._errors([]):
            self._client.blpop([WAKEUP], timeout)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _errors(self, queues: Sequence[str]) -> Iterator[None]:
        """Raise Redis's errors as `TransportError`. Delete a key of another type, so that the next call succeeds."""
        try:
            yield
        except redis.RedisError as error:
            if "WRONGTYPE" in str(error):
                self._discard_foreign_keys(queues)
            raise TransportError(str(error)) from error

    def _discard_foreign_keys(self, queues: Sequence[str]) -> None:
        types = {_EPOCH: "string", WAKEUP: "list"} | {_key(queue): "list" for queue in queues}
        with suppress(redis.RedisError):
            for key, expected in types.items():
                if self._client.eval(_DISCARD_UNLESS_TYPE, 1, key, expected):
                    log.warning("deleted the key %s, which was not a %s", key, expected)


def _key(queue: str) -> str:
    return f"companon:queue:{queue}"
