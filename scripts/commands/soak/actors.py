"""Actors of the chaos suite: one for each way in which a job can end or be ended.

`dramatiq scripts.commands.soak.actors` starts a worker, `python -m scripts.commands.soak.relay` a relay.
"""

import http.client
import json
import os
import signal
import time
import urllib.request
from contextlib import suppress

import dramatiq

from jobs.engine import actor, current_job, own_transaction
from jobs.engine.worker.process import make_broker
from models.core.database import execute
from models.jobs.ledger import enqueue
from scripts.commands.soak.variables import TIME_LIMIT, VENDOR_URL
from settings import settings

CHILDREN = 2
MAX_ATTEMPTS = 1000
"""Attempts of each job. An outage may use up many, and no job may become a dead letter."""
_EFFECT = "INSERT INTO chaos.effects (key, job_id, fence) VALUES (%s, %s, %s)"
_INTENT = "INSERT INTO chaos.intents (key, kind) VALUES (%s, %s)"


def intend(kind: str, key: str) -> None:
    """Enqueue a job and record the intent in the same transaction."""
    execute(_INTENT, (key, kind))
    enqueue(f"chaos.{kind}", key)


def _happen(key: str) -> None:
    job = current_job()
    execute(_EFFECT, (key, job.id, job.claim.fence))


@actor("chaos.insert", max_attempts=MAX_ATTEMPTS)
def insert(key: str) -> None:
    """Record one effect."""
    _happen(key)


@actor("chaos.failing", max_attempts=MAX_ATTEMPTS)
def failing(key: str) -> None:
    """Fail at the first attempt, after the effect was written."""
    _happen(key)
    if current_job().attempt == 1:
        raise ValueError("first attempt fails")


@actor("chaos.slow", queue="slow", max_attempts=MAX_ATTEMPTS)
def slow(key: str) -> None:
    """Keep the transaction open for 0.3 seconds."""
    _happen(key)
    time.sleep(0.3)


@actor("chaos.parent", max_attempts=MAX_ATTEMPTS)
def parent(key: str) -> None:
    """Enqueue child jobs, which exist only if this job commits."""
    for number in range(CHILDREN):
        intend("insert", f"{key}/{number}")
    _happen(key)


@actor("chaos.progress", max_attempts=MAX_ATTEMPTS)
def progress(key: str) -> None:
    """Report progress."""
    current_job().progress(1, 2, "half")
    _happen(key)


@actor("chaos.overlong", queue="slow", max_attempts=MAX_ATTEMPTS, time_limit=0.3)
def overlong(key: str) -> None:
    """Exceed the time limit at the first attempt, between two writes or within one."""
    while current_job().attempt == 1:
        _happen(key)
    _happen(key)


@actor("chaos.outward", queue="slow", max_attempts=MAX_ATTEMPTS, outward=True)
def outward(key: str) -> None:
    """Call the vendor after a short transaction of its own."""
    with own_transaction():
        execute("SELECT 1")
    _act(key, current_job().idempotency_key)


def _act(key: str, idempotency_key: str) -> None:
    headers = {"Idempotency-Key": idempotency_key}
    request = urllib.request.Request(os.environ[VENDOR_URL], json.dumps({"key": key}).encode(), headers)
    with urllib.request.urlopen(request, timeout=5):
        """The answer has no content."""


@actor("chaos.poison", max_attempts=MAX_ATTEMPTS)
def poison(key: str) -> None:
    """Kill the worker, with all jobs that it runs. Report each time to the vendor."""
    with suppress(OSError, http.client.HTTPException):
        _act(f"{key} {current_job().claim.fence}", current_job().idempotency_key + str(current_job().claim.fence))
    os.kill(os.getpid(), signal.SIGKILL)


@actor("chaos.brief", queue="slow", max_attempts=MAX_ATTEMPTS, time_limit=float(os.environ.get(TIME_LIMIT, "60")))
def brief(key: str) -> None:
    """Run for a second, so that a test can stop the process meanwhile."""
    _happen(key)
    execute("SELECT pg_sleep(1)")


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
