"""Health of a web process: `/healthz` says whether it is alive, `/readyz` whether its dependencies answer.

A load balancer sends requests to processes that are ready. An orchestrator restarts those that are not alive.
"""

import asyncio
import time
from collections.abc import Callable
from functools import cache
from typing import Annotated, Literal

import msgspec
import redis
from falcon.asgi import Request, Response
from msgspec import Meta
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.core import database
from models.core.context import unauthenticated
from models.core.enumerations import enumeration
from models.core.migrate import MIGRATIONS
from models.jobs import wakeup
from settings import Settings
from web.http.endpoint import endpoint
from web.http.shared_result import SharedResult
from web.http.thread_pool import ThreadPool

TIMEOUT = 2.0
"""Longest time of all checks together, in seconds."""
PROBE_TIMEOUT = 1.0
"""Longest time of one check, in seconds."""
SHARED_SECONDS = 1.0
"""Seconds for which all callers share one answer: `/readyz` is public, and each check costs a connection."""

ReadinessStatus = Annotated[
    Literal["ok", "degraded", "unavailable"],
    enumeration(
        "ReadinessStatus",
        "Readiness of a process. `ok`: everything answers. `degraded`: an optional dependency (`redis`, `broker`) "
        "fails; requests are served. `unavailable`: a required one (`postgres`, `migrations`) fails.",
    ),
]
UNAVAILABLE: ReadinessStatus = "unavailable"

Check = Callable[[], str]


class MigrationsMissing(Exception):
    """The database lacks migrations of this release."""


class Alive(msgspec.Struct):
    """Liveness of this process."""

    status: Annotated[Literal["ok"], Meta(description="Always `ok`: a process that can't serve does not answer.")]


class Dependency(msgspec.Struct):
    """State of one dependency."""

    ok: Annotated[bool, Meta(description="Whether the dependency answered in time.", examples=[True])]
    detail: Annotated[
        str, Meta(description="What the check found, or the kind of its failure, in English.", examples=["answers"])
    ]
    ms: Annotated[float, Meta(description="Time of the check in milliseconds.", examples=[1.8])]


class Readiness(msgspec.Struct):
    """Readiness of this process and its dependencies."""

    status: Annotated[
        ReadinessStatus,
        Meta(description="Readiness of the process; `unavailable` comes with 503.", examples=["ok"]),
    ]
    checks: Annotated[
        dict[str, Dependency],
        Meta(
            description="State of each dependency by name: `postgres`, `migrations`, `redis` and, if one is set, "
            "`broker`."
        ),
    ]


class Health:
    """`/healthz`: liveness of this process."""

    @endpoint(response=Alive, permission="public", mode="async", rate=None)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Check whether this process is alive. No dependency is checked.

        For the liveness check of a platform: restart the process if it does not answer.
        """
        resp.media = Alive("ok")


class Ready:
    """`/readyz`: readiness of this process."""

    def __init__(self, required: dict[str, Check], optional: dict[str, Check]) -> None:
        self._required = required
        self._checks = required | optional
        # Checks need their own threads: all threads of the responders may be waiting for the database.
        self._pool = ThreadPool("probe", threads=len(self._checks), queue=0, on_exit=database.close_thread_connections)
        self._started: dict[str, tuple[float, asyncio.Task[str]]] = {}
        self._readiness = SharedResult(self._check_all)

    @endpoint(
        operation_id="getReadiness",
        response=Readiness,
        other_responses={503: Readiness},
        permission="public",
        mode="async",
        rate=None,
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Check whether this process can serve requests. 503 with the missing dependencies if it can't.

        For the health check of a load balancer. All callers within a second share one answer.
        """
        resp.media = await self._readiness.get(SHARED_SECONDS)
        resp.status = 503 if resp.media.status == UNAVAILABLE else 200

    async def _check_all(self) -> Readiness:
        checks = dict(zip(self._checks, await asyncio.gather(*map(self._check, self._checks)), strict=True))
        ready = all(checks[name].ok for name in self._required)
        complete = all(dependency.ok for dependency in checks.values())
        return Readiness("ok" if complete else "degraded" if ready else UNAVAILABLE, checks)

    async def _check(self, name: str) -> Dependency:
        started, answer = self._answer_of(name)
        try:
            left = TIMEOUT - (time.perf_counter() - started)
            ok, detail = True, await asyncio.wait_for(asyncio.shield(answer), left)
        except TimeoutError:
            ok, detail = False, f"no answer within {TIMEOUT:.0f} s"
        except MigrationsMissing as error:
            ok, detail = False, str(error)
        except Exception as error:  # Report every failure, but only its type: this path is public.
            ok, detail = False, type(error).__name__
        return Dependency(ok, detail, round((time.perf_counter() - started) * 1000, 1))

    def _answer_of(self, name: str) -> tuple[float, "asyncio.Task[str]"]:
        """Start a check, unless the previous one is still running. Return its start time and its task."""
        earlier = self._started.get(name)
        if earlier is not None and not earlier[1].done():
            return earlier
        answer = asyncio.create_task(self._pool.run(self._checks[name]))
        # Retrieve the exception: all callers may be gone, and asyncio would log it.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._started[name] = started = (time.perf_counter(), answer)
        return started

    def open(self) -> None:
        """Start to accept checks."""
        self._pool.open()

    def close(self, timeout: float) -> bool:
        """Stop the threads. Return False if they did not stop within `timeout` seconds."""
        return self._pool.close(timeout)


def ready(settings: Settings) -> Ready:
    """Return the readiness resource with the checks of this installation."""
    client = redis.Redis.from_url(
        settings.redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PROBE_TIMEOUT,
        socket_connect_timeout=PROBE_TIMEOUT,
    )
    # Without Redis, each process counts limits itself. Without the broker, jobs wait in the ledger. Both are reported,
    # but a load balancer must not turn phones away for them.
    optional = {"redis": lambda: _redis(client)}
    if settings.broker_url:
        notifier = wakeup.connect(settings.broker_url)
        optional["broker"] = lambda: _broker(notifier)
    return Ready(required={"postgres": _postgres, "migrations": _migrations}, optional=optional)


def _postgres() -> str:
    with database.transaction(unauthenticated(), timeout=PROBE_TIMEOUT):
        database.value("select 1")
    return "answers"


def _redis(client: "redis.Redis") -> str:
    client.ping()
    return "answers"


def _broker(notifier: wakeup.Notifier) -> str:
    if not notifier.notify():
        raise ConnectionError("the broker doesn't answer")
    return "answers"


def _migrations() -> str:
    with database.transaction(unauthenticated(), timeout=PROBE_TIMEOUT):
        applied = database.value("select app.applied_migrations()")
    missing = sorted(_versions() - set(applied))
    if missing:
        raise MigrationsMissing(f"{len(missing)} missing, the first is {missing[0]}")
    return "at head"


@cache
def _versions() -> frozenset[str]:
    """Return the migrations of this release. The database may have more: the next release's migrations run first."""
    return frozenset(path.name.partition("_")[0] for path in MIGRATIONS.glob("*.sql"))
