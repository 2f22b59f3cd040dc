"""What carries job ids from the relay to the workers: one Redis list a queue, ids and nothing else.

Redis may lose any of it at any time. The ledger knows what was published, and the relay publishes it again.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID, uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.jobs import DOORBELL

_EPOCH = "companon:epoch"


class RedisTransport:
    """Queues of job ids in Redis (7 or newer). Raises `redis.RedisError` when it is out of reach."""

    def __init__(self, url: str) -> None:
        # One try and a short wait: whoever calls decides what a Redis that is gone means.
        self._client = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=3.0, socket_connect_timeout=1.0, decode_responses=True
        )

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Append ids to a queue."""
        self._client.rpush(_key(queue), *map(str, ids))

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Take up to `most` ids, waiting up to `timeout` seconds for the first."""
        answer = self._client.blmpop(timeout, 1, _key(queue), direction="LEFT", count=most)
        return [UUID(str(text)) for text in answer[1]] if answer else []

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]]:
        """The ids that lie in each queue."""
        with self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.lrange(_key(queue), 0, -1)
            lists = pipe.execute()
        return {queue: [UUID(text) for text in ids] for queue, ids in zip(queues, lists, strict=True)}

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """The epoch of the data (a new one means that Redis has lost it all) and each queue's length."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.set(_EPOCH, str(uuid4()), nx=True)
            pipe.get(_EPOCH)
            for queue in queues:
                pipe.llen(_key(queue))
            _, epoch, *lengths = pipe.execute()
        return epoch, dict(zip(queues, lengths, strict=True))

    def wait_for_doorbell(self, timeout: float) -> None:
        """Return when somebody has enqueued something, or after `timeout` seconds."""
        self._client.blpop([DOORBELL], timeout)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _key(queue: str) -> str:
    return f"companon:queue:{queue}"
