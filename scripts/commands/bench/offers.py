"""Enqueue delayed jobs, or jobs of a noisy brand or of quiet brands, in a separate process; print JSON.

`python -m scripts.commands.bench.offers timers COUNT SECONDS`, `… noisy COUNT` or `… quiet COUNT RATE`.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import islice

from models.core import context
from models.core.context import Identity
from models.core.database import execute, new_id, transaction
from models.jobs.ledger import enqueue

BATCH = 100
THREADS = 4
QUIET = 9
FIRST_DUE = 1.0
"""Seconds from the expected end of enqueueing to the first due time."""
SEED = 1
NOISE = 1_000_000
"""Number of the noisy brand's first job; quiet jobs have smaller numbers."""


class _NotThisTime(Exception):
    """Roll back a rehearsal."""


def timers(count: int, seconds: int) -> dict[str, float]:
    """Enqueue jobs that fall due over `seconds` seconds. Return the seconds left before the first due time."""
    brand = context.for_brand_job(new_id())
    first_due = time.perf_counter() + FIRST_DUE + 2 * count / BATCH * _rehearse(brand)
    for first in range(0, count, BATCH):
        with transaction(brand):
            begun = time.perf_counter()
            for n in range(first, min(first + BATCH, count)):
                _timer(n, first_due + seconds * n / count - begun)
    return {"spare_s": first_due - time.perf_counter()}


def _rehearse(brand: Identity) -> float:
    """Return the approximate seconds for one batch: a first one that also connects and is rolled back."""
    begun = time.perf_counter()
    with suppress(_NotThisTime), transaction(brand):
        for n in range(BATCH):
            _timer(n, 1.0)
        raise _NotThisTime
    return time.perf_counter() - begun


def _timer(n: int, seconds: float) -> None:
    delay = timedelta(seconds=max(0.0, seconds))
    execute("INSERT INTO bench.intents (n) VALUES (%s)", (n,))
    execute("INSERT INTO bench.timers (n, due_at) VALUES (%s, now() + %s)", (n, delay))
    enqueue("bench.insert", n, delay=delay)


def noisy(count: int) -> dict[str, float]:
    """Enqueue jobs of one brand as fast as possible. Return jobs per second."""
    brand, begun = context.for_brand_job(new_id()), time.perf_counter()
    for first in range(0, count, BATCH):
        _naps(brand, [NOISE + n for n in range(first, min(first + BATCH, count))])
    return {"per_s": count / (time.perf_counter() - begun)}


def quiet(count: int, rate: int) -> dict[str, float]:
    """Enqueue jobs of several brands at Poisson-distributed times, independent of the execution of earlier jobs.

    The times are the same in every run. Return the greatest delay in seconds.
    """
    brands = [context.for_brand_job(new_id()) for _ in range(QUIET)]
    begin = time.perf_counter() + 0.1
    moments = [begin + moment for moment in islice(_poisson(rate), count)]
    latest = [0.0] * THREADS

    def produce(number: int) -> None:
        for n in range(number, count, THREADS):
            time.sleep(max(0.0, moments[n] - time.perf_counter()))
            latest[number] = max(latest[number], time.perf_counter() - moments[n])
            _naps(brands[n % QUIET], [n])

    threads = [threading.Thread(target=produce, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"latest_s": max(latest)}


def _poisson(rate: int) -> Iterator[float]:
    chance, moment = random.Random(SEED), 0.0
    while True:
        moment += chance.expovariate(rate)
        yield moment


def _naps(brand: Identity, numbers: Iterable[int]) -> None:
    with transaction(brand):
        for n in numbers:
            execute("INSERT INTO bench.intents (n) VALUES (%s)", (n,))
            enqueue("bench.nap", n)


KINDS: dict[str, Callable[..., dict[str, float]]] = {"timers": timers, "noisy": noisy, "quiet": quiet}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](*map(int, sys.argv[2:]))))
