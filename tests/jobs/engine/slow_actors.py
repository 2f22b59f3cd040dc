"""Actors of a worker process that a test stops: `dramatiq tests.jobs.engine.slow_actors`."""

import time

import dramatiq

from jobs.engine import actor, current_job
from jobs.engine.worker.process import make_broker
from models.core.database import value
from settings import settings


@actor("slow.short", runs_as="system", time_limit=60)
def short() -> None:
    """End when the test allows it."""
    current_job().progress(0, 1, "started")
    while not value("SELECT count(*) FROM app.job_keys WHERE key = 'slow.go'"):
        time.sleep(0.01)


@actor("slow.long", runs_as="system", time_limit=600)
def long() -> None:
    """Run until the interrupt."""
    current_job().progress(0, 1, "started")
    while True:
        time.sleep(0.01)


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
