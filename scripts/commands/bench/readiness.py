"""The start line: processes that are measured say that they are ready, and begin when they are told to."""

import dramatiq
import redis

from scripts.commands.bench.servers import GO, READY
from settings import settings


def await_start() -> None:
    """Say that this process is ready, and wait for the word."""
    client = redis.Redis.from_url(settings.redis_url)
    client.rpush(READY, 1)
    # For a second at a time: the client gives up on a server that says nothing for 5 s, and others take longer to come.
    while client.blpop([GO], 1) is None:
        """Not yet."""
    client.close()


class StartLine(dramatiq.Middleware):
    """Holds a worker process there before its threads start. It costs a little, and both contestants the same."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Wait."""
        await_start()
