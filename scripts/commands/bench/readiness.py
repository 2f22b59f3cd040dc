"""Start line: measured processes report that they are ready and wait for the start signal."""

import dramatiq
import redis

from scripts.commands.bench.servers import GO, READY
from settings import settings


def await_start() -> None:
    """Report that this process is ready and wait for the start signal."""
    client = redis.Redis.from_url(settings.redis_url)
    client.rpush(READY, 1)
    # Poll once per second: the client gives up on a server that is silent for 5 s.
    while client.blpop([GO], 1) is None:
        """Wait for another second."""
    client.close()


class StartLine(dramatiq.Middleware):
    """Hold a worker process at the start line before its threads start, in all measured systems alike."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Wait for the start signal."""
        await_start()
