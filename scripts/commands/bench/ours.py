"""Workers of the benchmark: every actor of the system, one that inserts a row, and one that takes 20 ms.

`dramatiq scripts.commands.bench.ours` runs the workers, `python -m scripts.commands.bench.relay` the relay.
"""

import time

import dramatiq

import jobs.actors  # noqa: F401  (declares every actor)
from jobs.engine import actor
from jobs.engine.worker.process import make_broker
from models.core.database import execute
from scripts.commands.bench.readiness import StartLine
from scripts.commands.bench.statement import INSERT
from settings import settings

ACTOR = "bench.insert"
NAP, NAP_SECONDS = "bench.nap", 0.02


@actor(ACTOR)
def insert(n: int) -> None:
    """Record that job `n` ran."""
    execute(INSERT, (n,))


@actor(NAP)
def nap(n: int) -> None:
    """Record that job `n` ran, and wait without using the processor."""
    execute(INSERT, (n,))
    time.sleep(NAP_SECONDS)


broker = make_broker(settings.transport_url)
broker.add_middleware(StartLine())
dramatiq.set_broker(broker)
