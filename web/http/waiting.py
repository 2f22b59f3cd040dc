"""Answer a request with the result of a job: wait for its end without a thread and without a transaction.

The responder enqueues the job and calls `wait_for`. After the commit the request waits for up to `WAIT_SECONDS`. A
worker announces the end of an outward job by Redis, and each process polls the ledger for all its waiting requests at
once, so that a lost announcement costs a quarter of a second. docs/decisions/0045 explains the choice.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis.asyncio
from falcon.asgi import Request, Response
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from models.core.errors import REGISTRY, Problem
from models.jobs import ledger
from models.jobs.endings import CHANNEL
from models.jobs.ledger import ENDED_STATES, Job, JobRef
from web.http.accepted import JobFailed, accept
from web.http.thread_pool import Overloaded

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Maximum seconds that a request waits for its job."""
POLL_SECONDS = 0.25
"""Seconds between two polls of the ledger while requests wait."""
IDLE_SECONDS = 30.0
"""Seconds without a waiting request after which the process stops listening."""
_REDIS_AGAIN_AFTER = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job of a request, and the function that returns the answer once the job is done."""

    job_id: UUID
    answer: Callable[[], Any]


def wait_for(req: Request, resp: Response, job: JobRef, answer: Callable[[], Any], *, location: str = "") -> None:
    """Answer with `answer()` once the job is done, or with 202 and the job if that takes longer than `WAIT_SECONDS`.

    For responders of endpoints with `waits=True`. A job that fails for good answers with the problem of its error.

    Args:
        req: the request.
        resp: the response.
        job: the enqueued job.
        answer: returns the media. It runs in a transaction of its own, as the caller, after the job is done.
        location: what to poll after 202, if callers may lack the permission to read jobs. Default: the job.
    """
    accept(resp, job, location=location)
    req.context.waiting = Waiting(job.id, answer)


def result_of(job: Job, waiting: Waiting) -> Any:
    """Return the answer of a job that is done. Runs in the caller's transaction.

    Raises:
        Problem: the job has failed with a problem, such as the refusal of a service.
        JobFailed: the job has failed with another error, or was cancelled.
    """
    if job.state == "done":
        return waiting.answer()
    error = job.error or {}
    if error.get("code") in REGISTRY:
        raise Problem.of_code(error["code"], str(error.get("message", "")), members=error.get("members"))
    raise JobFailed("The work was cancelled." if job.state == "cancelled" else "")


def read_if_ended(job_id: UUID) -> Job | None:
    """Return a job of the caller if it has ended."""
    job = ledger.get_awaited(job_id)
    return job if job.state in ENDED_STATES else None


class JobWaiter:
    """Wakes the requests of this process whose jobs have ended. Belongs to one event loop."""

    def __init__(self, redis_url: str, ended: Callable[[list[UUID]], Awaitable[set[UUID]]]) -> None:
        """Prepare to listen. `is_listening` says whether announcements arrive.

        Args:
            redis_url: Redis with the announcements of workers.
            ended: returns those of the jobs that are over.
        """
        self._url = redis_url
        self._ended = ended
        self._waiting: defaultdict[UUID, set[asyncio.Future[None]]] = defaultdict(set)
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: asyncio.TimerHandle | None = None
        self.is_listening = False

    @property
    def count(self) -> int:
        """Return the number of waiting requests."""
        return sum(map(len, self._waiting.values()))

    async def wait(self, job_id: UUID) -> bool:
        """Wait for the end of a job, up to `WAIT_SECONDS`. Return whether it has ended."""
        self._start()
        done = asyncio.get_running_loop().create_future()
        self._waiting[job_id].add(done)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await done
        except TimeoutError:
            return False
        finally:
            self._waiting[job_id].discard(done)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
            if not self._waiting:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.stop)
        return True

    def stop(self) -> None:
        """Stop listening. The next waiting request starts it again."""
        if self._idle is not None:
            self._idle.cancel()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _start(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    def _wake(self, job_id: UUID) -> None:
        for done in self._waiting.get(job_id, ()):
            if not done.done():
                done.set_result(None)

    async def _listen(self) -> None:
        """Wake requests by the announcements of workers, with one connection. Reconnect if it breaks."""
        while True:
            client = redis.asyncio.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0))
            try:
                async with client, client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    async for message in subscription.listen():
                        if message["type"] == "subscribe":  # Announcements arrive from now on, not before.
                            self.is_listening = True
                            continue
                        with suppress(ValueError):
                            self._wake(UUID(message["data"].decode()))
            except (RedisError, OSError) as error:
                logger.warning("ends of jobs are polled because Redis fails: %s", error)
            finally:
                self.is_listening = False
            await asyncio.sleep(_REDIS_AGAIN_AFTER)

    async def _poll(self) -> None:
        """Ask the ledger for the jobs of all waiting requests."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._waiting:
                continue
            try:
                for job_id in await self._ended(list(self._waiting)):
                    self._wake(job_id)
            except Overloaded:
                continue
            except Exception as error:
                logger.warning("the ledger can't be polled for ended jobs: %s", error)
