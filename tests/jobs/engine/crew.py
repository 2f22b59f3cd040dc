"""Processes of tests that take something away from them: `dramatiq tests.jobs.engine.crew`, `python -m
tests.jobs.engine.crew`.

Their one actor writes down that it ran, in a table that the test makes.
"""

import dramatiq

from jobs.engine import actor
from jobs.engine.worker.process import make_broker
from models.core.database import execute
from settings import settings

ACTOR = "crew.effect"


@actor(ACTOR, runs_as="system")
def effect(n: int) -> None:
    """Write down that job `n` ran."""
    execute("INSERT INTO crew.effects (n) VALUES (%s)", (n,))


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)

if __name__ == "__main__":
    from jobs.engine.relay.__main__ import main

    main()
