import threading

import redis

from scripts.commands.bench import readiness
from scripts.commands.bench.servers import GO, READY


def test_a_process_waits_at_the_start_line_for_longer_than_a_client_waits_for_its_server(redis_url, monkeypatch):
    client = redis.Redis.from_url(redis_url)
    impatient = redis.Redis.from_url(redis_url, socket_timeout=1.3)
    monkeypatch.setattr(readiness.redis.Redis, "from_url", lambda url: impatient)
    waiting = threading.Thread(target=readiness.await_start, daemon=True)
    waiting.start()
    assert client.blpop([READY], 3)

    waiting.join(1.8)

    assert waiting.is_alive(), "it gave up"
    client.rpush(GO, 1)
    waiting.join(5)
    assert not waiting.is_alive()
    client.close()
