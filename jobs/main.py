"""The `worker` process: `dramatiq jobs.main`. It runs every actor."""

import dramatiq

import jobs.actors  # noqa: F401  (declares the actors)
from jobs.engine.worker.process import make_broker
from models.core import logs
from models.operations import settings_check
from settings import settings

settings_check.require_fit(settings, "worker")
logs.configure(settings.log_level)

broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
