"""A worker process of tests that tell it to stop: `dramatiq tests.jobs.engine.slow_crew`."""

import time

import dramatiq

from jobs.engine import actor, current_job
from jobs.engine.worker.process import make_broker
from models.core.database import value
from settings import settings


@actor("slow.short", runs_as="system", time_limit=60)
def short() -> None:
    """Ends once somebody lets it."""
    current_job().progress(0, 1, "started")
    while not value("SELECT count(*) FROM app.job_keys WHERE key = 'slow.go'"):
        time.sleep(0.01)


@actor("slow.long", runs_as="system", time_limit=600)
def long() -> None:
    """Doesn't end."""
    current_job().progress(0, 1, "started")
    while True:
        time.sleep(0.01)


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
