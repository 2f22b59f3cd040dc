"""Processes of tests that take something away from them: `dramatiq tests.jobs.crew`, `python -m tests.jobs.crew`.

Their one actor writes down that it ran, in a table that the test makes.
"""

import dramatiq

from jobs.engine import actor
from jobs.engine.worker import make_broker
from models.db import execute
from settings import settings

ACTOR = "crew.effect"


@actor(ACTOR, runs_as="system")
def effect(n: int) -> None:
    """Write down that job `n` ran."""
    execute("INSERT INTO crew.effects (n) VALUES (%s)", (n,))


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)

if __name__ == "__main__":
    from jobs.engine import relay

    relay.main()
