"""Asks for jobs at a steady pace through thick and thin: `python -m scripts.commands.soak.producer COUNT SECONDS SEED`.

A commit that was not answered may have happened: the same key is asked for again until the database says that it is
there. One transaction in twenty is rolled back at its end, and nothing of it may ever be seen.
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
"""How often each kind is asked for, among each other."""
ROLLED_BACK = 0.05
THREADS = 4


class ChangedTheirMindError(Exception):
    """The transaction is rolled back."""


def produce(count: int, seconds: float, seed: int) -> None:
    """Ask for `count` jobs within `seconds`, or as soon as the database lets them be asked for."""
    begin = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(_ask, first, count, seconds, seed, begin) for first in range(THREADS)]:
            done.result()


def _ask(first: int, count: int, seconds: float, seed: int, begin: float) -> None:
    """Ask for every `THREADS`-th job."""
    chosen = random.Random(seed + first)
    for n in range(first, count, THREADS):
        time.sleep(max(0.0, begin + n * seconds / count - time.monotonic()))
        kind = chosen.choices(list(KINDS), list(KINDS.values()))[0]
        if chosen.random() < ROLLED_BACK:
            _insist(kind, f"never-{n}", keep=False)
        _insist(kind, str(n), keep=True)


def _insist(kind: str, key: str, *, keep: bool) -> None:
    while not _try(kind, key, keep):
        time.sleep(0.1)


def _try(kind: str, key: str, keep: bool) -> bool:
    try:
        with transaction(BRAND, timeout=5):
            intend(kind, key)
            if not keep:
                raise ChangedTheirMindError
    except (ChangedTheirMindError, peewee.IntegrityError):
        return True  # Rolled back as meant; or it is there already, and the answer to its commit was lost.
    except (peewee.OperationalError, peewee.InterfaceError, psycopg2.Error):
        return False
    return True


if __name__ == "__main__":
    produce(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
