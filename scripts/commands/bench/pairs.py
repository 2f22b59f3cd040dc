"""Alternate transactions with and without a job on one connection, in a separate process; print medians as JSON.

`python -m scripts.commands.bench.pairs ROUNDS`.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from uuid import UUID

from models.core import context
from models.core.database import execute, new_id, transaction
from models.jobs.ledger import enqueue, notify_relay

BRAND = new_id()
AS_BRAND = context.for_brand_job(BRAND)
WARM_UP = 30

Timings = dict[str, list[float]]
"""Milliseconds in each round, by variant."""


def pairs(rounds: int) -> dict[str, float]:
    """Return the medians; `cost` is the median of the neighbouring rounds' relative difference."""
    with transaction(AS_BRAND):
        execute("INSERT INTO shop.accounts (brand_id) VALUES (%s)", (BRAND,))
    _timed(min(rounds, WARM_UP))  # The first rounds open connections, plan statements and load pages.
    found = _timed(rounds)
    both = zip(found["with_ms"], found["without_ms"], strict=True)
    return {
        "cost": median(more / less - 1 for more, less in both),
        **{name: median(taken) for name, taken in found.items()},
    }


def _timed(rounds: int) -> Timings:
    found: Timings = {"without_ms": [], "with_ms": [], "enqueue_ms": [], "wakeup_ms": []}
    for number in range(rounds):
        turns = [("without_ms", lambda: _order()), ("with_ms", lambda: _order_with_job(found["enqueue_ms"]))]
        # Alternate the order: a commit leaves work to the next one.
        for name, do in turns if number % 2 else reversed(turns):
            found[name].append(_ms(do))
        found["wakeup_ms"].append(_ms(notify_relay))
    return found


def _order() -> None:
    with transaction(AS_BRAND):
        _statements()


def _order_with_job(taken: list[float]) -> None:
    with transaction(AS_BRAND):
        order = _statements()
        taken.append(_ms(lambda: enqueue("bench.insert", order)))


def _statements() -> UUID:
    order = new_id()
    execute("INSERT INTO shop.orders (id, brand_id, amount) VALUES (%s, %s, %s)", (order, BRAND, 1))
    execute("UPDATE shop.accounts SET balance = balance + %s WHERE brand_id = %s", (1, BRAND))
    return order


def _ms(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    print(json.dumps(pairs(int(sys.argv[1]))))
