import threading
import time

import redis

from scripts.benchmarks import readiness
from scripts.benchmarks.servers import GO, READY


def test_a_process_waits_at_the_start_line_for_longer_than_a_client_waits_for_its_server(redis_url, monkeypatch):
    impatient = redis.Redis.from_url(redis_url, socket_timeout=1.5)
    monkeypatch.setattr(readiness.redis.Redis, "from_url", lambda url: impatient)
    begun = threading.Event()

    def run() -> None:
        readiness.await_start()
        begun.set()

    waiting = threading.Thread(target=run, daemon=True)
    waiting.start()
    with redis.Redis.from_url(redis_url) as client:
        assert client.blpop([READY], 5)
        time.sleep(2)
        assert waiting.is_alive(), "it gave up"
        client.rpush(GO, 1)
    assert begun.wait(5)
