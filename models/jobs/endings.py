"""Announce the end of jobs that a request may wait for, by Redis. Best effort: waiting requests also poll."""

import time
from uuid import UUID

import redis

from models.core.database import rows
from models.jobs import brokers
from settings import settings

CHANNEL = "jobs:ended"
"""Channel of the ids of ended jobs."""

_PATIENCE = 0.2  # maximum seconds for an answer of Redis
_AGAIN_AFTER = 5.0  # seconds without another attempt after a failed one


class Announcer:
    """Publishes ids of ended jobs. May be shared by threads."""

    def __init__(self, url: str) -> None:
        self._client = brokers.redis_client(url, patience=_PATIENCE, connect_patience=_PATIENCE)
        self._again_at = 0.0

    def announce(self, job_id: UUID) -> None:
        """Publish the id of a job that has ended. Never raises."""
        if time.monotonic() < self._again_at:
            return
        try:
            self._client.publish(CHANNEL, str(job_id))
        except redis.RedisError:
            self._again_at = time.monotonic() + _AGAIN_AFTER


_announcer = Announcer(settings.redis_url)


def announce(job_id: UUID) -> None:
    """Wake the requests that wait for a job. Best effort: never raises."""
    _announcer.announce(job_id)


def ended(ids: list[UUID]) -> set[UUID]:
    """Return those of the jobs that are not in the ledger any more."""
    return {found["id"] for found in rows("SELECT id FROM app.ended_jobs(%s::uuid[]) AS id", (ids,))}
