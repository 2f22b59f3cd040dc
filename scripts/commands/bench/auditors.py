"""Write audit entries in a separate process and print measurements as JSON.

`python -m scripts.commands.bench.auditors cost PAIRS` times alternating transactions of two writes with and without an
entry. `… paced COUNT RATE WRITERS` writes entries of one tenant at fixed times, one per transaction.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from uuid import UUID

from models.audit import trail
from models.core.context import Identity
from models.core.database import execute, new_id, transaction

BRAND_ID = UUID(int=7)
METADATA = {"brand_id": str(BRAND_ID), "user_role": "Brand Admin"}
BRAND = Identity("web", "authenticated", {"app_metadata": METADATA})
WARM_UP = 20
"""Pairs that are not counted: they open connections and prepare plans."""


def cost(pairs: int) -> dict[str, float]:
    """Measure transactions of two writes without and with an audit entry, in µs."""
    plain: list[float] = []
    audited: list[float] = []
    for number in range(pairs + WARM_UP):
        turns = [(plain, _write), (audited, _write_and_record)]
        # Alternate the order: the load of the machine changes over time.
        for times, act in turns if number % 2 else reversed(turns):
            started = time.perf_counter()
            act(number)
            times.append(1e6 * (time.perf_counter() - started))
    return {"plain_us": median(plain[WARM_UP:]), "audited_us": median(audited[WARM_UP:])}


def _write(number: int) -> None:
    with transaction(BRAND):
        _two_statements(number)


def _write_and_record(number: int) -> None:
    with transaction(BRAND):
        _two_statements(number)
        _record(number)


def _two_statements(number: int) -> None:
    execute("INSERT INTO bench.things (id, name, number) VALUES (%s, 'a thing', %s)", (new_id(), number))
    execute("UPDATE bench.counts SET things = things + 1 WHERE id = 1")


def _record(number: int) -> None:
    before, after = {"status": "Draft", "number": number}, {"status": "Active", "number": number + 1}
    trail.record("bench.act", table="things", record_id=new_id(), before=before, after=after)


def paced(count: int, rate: int, writers: int) -> dict[str, float]:
    """Write `count` entries, `rate` per second. Return the greatest delay in seconds and the rate."""
    begin = time.perf_counter() + 0.2
    latest = [0.0] * writers

    def write(writer: int) -> None:
        for number in range(writer, count, writers):
            due = begin + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            latest[writer] = max(latest[writer], time.perf_counter() - due)
            with transaction(BRAND):
                _record(number)

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"latest_s": max(latest), "per_s": count / (time.perf_counter() - begin)}


KINDS: dict[str, Callable[..., dict[str, float]]] = {"cost": cost, "paced": paced}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](*map(int, sys.argv[2:]))))
