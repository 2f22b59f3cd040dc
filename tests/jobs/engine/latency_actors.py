"""Actors of the latency classes, for workers of the Procfile's lines: `dramatiq tests.jobs.engine.latency_actors`."""

import time

import dramatiq

from jobs.engine import actor, own_transaction
from jobs.engine.worker.process import make_broker
from models.core.database import value
from settings import settings


@actor("class.vendor", runs_as="system", outward=True, time_limit=60)
def call_slow_vendor() -> None:
    """Wait until the test lets the vendor answer."""
    while True:
        with own_transaction():
            if value("SELECT count(*) FROM app.job_keys WHERE key = 'vendor.answers'"):
                return
        time.sleep(0.01)


@actor("class.scan", runs_as="system", queue="scans")
def score() -> None:
    """Stand for a job of a scan."""


@actor("class.ordinary", runs_as="system")
def work() -> None:
    """Stand for an ordinary job."""


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
