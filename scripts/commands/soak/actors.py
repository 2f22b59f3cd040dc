"""What workers run under faults: one actor for each way in which a job can end, and be ended.

`dramatiq scripts.commands.soak.actors` are the workers, `python -m scripts.commands.soak.relay` is the relay.
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
from scripts.commands.soak.variables import LIMIT, URL
from settings import settings

CHILDREN = 2
OFTEN = 1000
"""Attempts: an outage may take many, and here none of them is the last."""
_EFFECT = "INSERT INTO chaos.effects (key, job_id, fence) VALUES (%s, %s, %s)"
_INTENT = "INSERT INTO chaos.intents (key, kind) VALUES (%s, %s)"


def intend(kind: str, key: str) -> None:
    """Enqueue a job and write down that it was asked for, in one transaction."""
    execute(_INTENT, (key, kind))
    enqueue(f"chaos.{kind}", key)


def _happen(key: str) -> None:
    job = current_job()
    execute(_EFFECT, (key, job.id, job.claim.fence))


@actor("chaos.insert", max_attempts=OFTEN)
def insert(key: str) -> None:
    """The plainest job."""
    _happen(key)


@actor("chaos.failing", max_attempts=OFTEN)
def failing(key: str) -> None:
    """Fails once, after it has written."""
    _happen(key)
    if current_job().attempt == 1:
        raise ValueError("not this time")


@actor("chaos.slow", queue="slow", max_attempts=OFTEN)
def slow(key: str) -> None:
    """Holds its transaction open for a while."""
    _happen(key)
    time.sleep(0.3)


@actor("chaos.parent", max_attempts=OFTEN)
def parent(key: str) -> None:
    """Asks for more jobs, which are asked for only if this one is done."""
    for number in range(CHILDREN):
        intend("insert", f"{key}/{number}")
    _happen(key)


@actor("chaos.progress", max_attempts=OFTEN)
def progress(key: str) -> None:
    """Says how far it is."""
    current_job().progress(1, 2, "half of it")
    _happen(key)


@actor("chaos.overlong", queue="slow", max_attempts=OFTEN, time_limit=0.3)
def overlong(key: str) -> None:
    """Is interrupted wherever it is, between two writes or within one, at its first attempt."""
    while current_job().attempt == 1:
        _happen(key)
    _happen(key)


@actor("chaos.outward", queue="slow", max_attempts=OFTEN, outward=True)
def outward(key: str) -> None:
    """Acts in the outside world, after a short transaction."""
    with own_transaction():
        execute("SELECT 1")
    _act(key, current_job().idempotency_key)


def _act(key: str, idempotency_key: str) -> None:
    headers = {"Idempotency-Key": idempotency_key}
    request = urllib.request.Request(os.environ[URL], json.dumps({"key": key}).encode(), headers)
    with urllib.request.urlopen(request, timeout=5):
        """What it answers does not matter."""


@actor("chaos.poison", max_attempts=OFTEN)
def poison(key: str) -> None:
    """Takes its worker down, whoever is on board. The outside world hears of each time."""
    with suppress(OSError, http.client.HTTPException):
        _act(f"{key} {current_job().claim.fence}", current_job().idempotency_key + str(current_job().claim.fence))
    os.kill(os.getpid(), signal.SIGKILL)


@actor("chaos.brief", queue="slow", max_attempts=OFTEN, time_limit=float(os.environ.get(LIMIT, "60")))
def brief(key: str) -> None:
    """Is under way for a second: long enough for its process to be stopped meanwhile."""
    _happen(key)
    execute("SELECT pg_sleep(1)")


broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
