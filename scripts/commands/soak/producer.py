"""Enqueue jobs at a steady rate despite faults: `python -m scripts.commands.soak.producer COUNT SECONDS SEED`.

A commit without an answer may have happened, so the same key is enqueued again until the database confirms it.
One transaction in twenty is rolled back at its end. None of its effects may appear.
"""

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import peewee
import psycopg2

from models.core import context
from models.core.database import new_id, transaction
from scripts.commands.soak.actors import intend

BRAND = context.for_brand_job(new_id())
KINDS = {"insert": 10, "failing": 2, "slow": 1, "parent": 2, "progress": 2, "overlong": 1, "outward": 2}
"""Relative frequency of each kind of job."""
ROLLED_BACK = 0.05
THREADS = 4


class RollbackError(Exception):
    """Roll the transaction back."""


def produce(count: int, seconds: float, seed: int) -> None:
    """Enqueue `count` jobs within `seconds`, or as soon as the database accepts them."""
    begin = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        for future in [threads.submit(_produce_share, first, count, seconds, seed, begin) for first in range(THREADS)]:
            future.result()


def _produce_share(first: int, count: int, seconds: float, seed: int, begin: float) -> None:
    chosen = random.Random(seed + first)
    for n in range(first, count, THREADS):
        time.sleep(max(0.0, begin + n * seconds / count - time.monotonic()))
        kind = chosen.choices(list(KINDS), list(KINDS.values()))[0]
        if chosen.random() < ROLLED_BACK:
            _produce_one(kind, f"never-{n}", keep=False)
        _produce_one(kind, str(n), keep=True)


def _produce_one(kind: str, key: str, *, keep: bool) -> None:
    while not _try(kind, key, keep):
        time.sleep(0.1)


def _try(kind: str, key: str, keep: bool) -> bool:
    try:
        with transaction(BRAND, timeout=5):
            intend(kind, key)
            if not keep:
                raise RollbackError
    except (RollbackError, peewee.IntegrityError):
        return True  # Rolled back on purpose, or stored already by a commit whose answer was lost.
    except (peewee.OperationalError, peewee.InterfaceError, psycopg2.Error):
        return False
    return True


if __name__ == "__main__":
    produce(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
