"""Enqueue jobs in the ledger or in Dramatiq's Redis, in a separate process; print the rate as JSON.

`python -m scripts.commands.bench.producer ledger COUNT`, `… dramatiq COUNT` or `… paced COUNT RATE`.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable

from models.core import context
from models.core.database import execute, new_id, transaction
from models.jobs.ledger import enqueue

BRAND = context.for_brand_job(new_id())
SINGLE = 500
"""Jobs that are enqueued one per transaction, like requests, to measure the rate; the rest is enqueued in batches."""
BATCH = 100
THREADS = 4


def ledger(count: int) -> dict[str, float]:
    """Enqueue jobs 0 to `count`. Return the rate of single transactions."""
    single = min(SINGLE, count)
    started = time.perf_counter()
    for n in range(single):
        _commit([n])
    rate = single / (time.perf_counter() - started)
    for first in range(single, count, BATCH):
        _commit(range(first, min(first + BATCH, count)))
    return {"per_s": rate}


def dramatiq(count: int) -> dict[str, float]:
    """Send messages 0 to `count` to Dramatiq. Return the rate."""
    from scripts.commands.bench.stock import insert

    started = time.perf_counter()
    for n in range(count):
        insert.send(n)
    return {"per_s": count / (time.perf_counter() - started)}


def paced(count: int, rate: int) -> dict[str, float]:
    """Enqueue jobs at fixed times, independent of earlier ones. Return the greatest delay in seconds."""
    begin = time.perf_counter() + 0.1
    latest = [0.0] * THREADS

    def produce(number: int) -> None:
        for n in range(number, count, THREADS):
            due = begin + n / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            latest[number] = max(latest[number], time.perf_counter() - due)
            _commit([n])

    threads = [threading.Thread(target=produce, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"latest_s": max(latest)}


def _commit(numbers: Iterable[int]) -> None:
    """Enqueue jobs in one transaction and record them in `bench.intents`."""
    with transaction(BRAND):
        for n in numbers:
            execute("INSERT INTO bench.intents (n) VALUES (%s)", (n,))
            enqueue("bench.insert", n)


KINDS: dict[str, Callable[..., dict[str, float]]] = {"ledger": ledger, "dramatiq": dramatiq, "paced": paced}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](*map(int, sys.argv[2:]))))
