"""A relay and a worker for tests of lost brokers: `python -m` and `dramatiq tests.jobs.engine.effect_actors`.

The one actor inserts a row into a table of the test.
"""

import dramatiq

from jobs.engine import actor
from jobs.engine.worker.process import make_broker
from models.core.database import execute
from settings import settings

ACTOR = "test.effect"


@actor(ACTOR, runs_as="system")
def effect(n: int) -> None:
    """Insert a row for job `n`."""
    execute("INSERT INTO test_actors.effects (n) VALUES (%s)", (n,))


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)

if __name__ == "__main__":
    from jobs.engine.relay.__main__ import main

    main()
