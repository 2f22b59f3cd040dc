"""Job ids in Redis (7 or newer), one list a queue; also in whichever server Sentinels say is the primary.

A primary that has become a replica answers READONLY; the client then drops the connection and asks the Sentinels
again. What a failover loses (replication is asynchronous) is what any other loss is: published, and in no list.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

import redis

from jobs.engine.transport import TransportError
from models import brokers
from models.brokers import DOORBELL

_EPOCH = "companon:epoch"


class RedisTransport:
    """The transport over `redis://`, `rediss://`, `unix://` or `sentinel://`. May be shared by threads."""

    def __init__(self, url: str) -> None:
        self._client = brokers.redis_client(url, patience=3.0, connect_patience=1.0)

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Append ids to a list."""
        with _errors():
            self._client.rpush(_key(queue), *map(str, ids))

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Take ids in one command that waits in Redis, so an idle worker costs nothing."""
        with _errors():
            answer = self._client.blmpop(timeout, 1, _key(queue), direction="LEFT", count=most)
        return [UUID(str(text)) for text in answer[1]] if answer else []

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]] | None:
        """The lists as they are."""
        with _errors(), self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.lrange(_key(queue), 0, -1)
            lists = pipe.execute()
        return {queue: [UUID(text) for text in ids] for queue, ids in zip(queues, lists, strict=True)}

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """The epoch is a key that whoever misses it sets; it goes when Redis forgets everything."""
        with _errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.set(_EPOCH, str(uuid4()), nx=True)
            pipe.get(_EPOCH)
            for queue in queues:
                pipe.llen(_key(queue))
            _, epoch, *lengths = pipe.execute()
        return epoch, dict(zip(queues, lengths, strict=True))

    def wait_for_doorbell(self, timeout: float) -> None:
        """Wait in Redis."""
        with _errors():
            self._client.blpop([DOORBELL], timeout)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise TransportError(str(error)) from error


def _key(queue: str) -> str:
    return f"companon:queue:{queue}"
