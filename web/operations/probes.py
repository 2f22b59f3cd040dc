"""`/healthz/{process}` and `/healthz/audit`: probes of processes without an HTTP server, and of the audit trail."""

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audit import chain, checkpoints
from models.core import database
from models.core.context import unauthenticated
from models.core.errors import NotFound, Problem
from models.core.messages import Message
from models.operations import metrics
from web.http.endpoint import endpoint
from web.http.shared_result import SharedResult
from web.http.thread_pool import ThreadPool
from web.operations import health

T = TypeVar("T")


class Probe(Generic[T]):
    """Query whose result all callers share for `health.SHARED_SECONDS`: these paths are public."""

    def __init__(self, query: Callable[[], T]) -> None:
        self._query = query
        self._shared: SharedResult[T] | None = None

    async def get(self, pool: ThreadPool) -> T:
        """Return the result of the query, at most `health.SHARED_SECONDS` old. It runs in a thread of `pool`."""
        if self._shared is None:
            self._shared = SharedResult(lambda: pool.run(self._run))
        return await self._shared.get(health.SHARED_SECONDS)

    def _run(self) -> T:
        with database.transaction(unauthenticated(), timeout=health.PROBE_TIMEOUT):
            return self._query()


class NoHeartbeat(Problem):
    """No process of this kind has recorded a heartbeat recently."""

    code = "no_heartbeat"


class Heartbeat(msgspec.Struct):
    """The newest heartbeat of a kind of process."""

    process: Annotated[
        str,
        Meta(
            description="Kind of process: `relay`, `worker`, `clock`, `seal`, or `worker-` and the name of a queue for "
            "the workers of that queue.",
            examples=["relay"],
        ),
    ]
    seconds: Annotated[
        float, Meta(description="Seconds since the newest heartbeat of any such process.", examples=[2.1])
    ]


class ProcessHealth:
    """`/healthz/{process}`: health of the relay, worker, clock and seal processes."""

    def __init__(self) -> None:
        self._ages = Probe(metrics.heartbeat_ages)

    @endpoint(permission="public", rate=None, mode="async", response=Heartbeat, problems=(NoHeartbeat, NotFound))
    async def on_get(self, req: Request, resp: Response, process: str) -> None:
        """Check the heartbeat of a kind of process. 503 if no such process has recorded one recently.

        For processes without an HTTP server, and for the workers of one queue (`worker-scans`). An unknown kind is
        404.
        """
        ages = await self._ages.get(req.context.dependencies.pool)
        if process not in ages:
            raise NotFound
        if ages[process] > metrics.HEARTBEAT_TIMEOUT:
            raise NoHeartbeat(
                Message(
                    "No {process} has recorded a heartbeat within {seconds:.0f} s.",
                    process=process,
                    seconds=metrics.HEARTBEAT_TIMEOUT,
                )
            )
        resp.media = Heartbeat(process, round(ages[process], 1))


class AuditBehind(Problem):
    """An entry has been unsealed, or sealed entries without a stored checkpoint, for too long."""

    code = "audit_behind"


class AuditHealthOut(msgspec.Struct):
    """State of the sealing and the checkpoints of the audit trail."""

    unsealed: Annotated[int, Meta(description="Entries that are not in a chain yet.", examples=[3])]
    oldest_unsealed_seconds: Annotated[
        float, Meta(description="Age of the oldest of these entries in seconds; 0 if there are none.", examples=[0.4])
    ]
    checkpoint_seconds: Annotated[
        float | None,
        Meta(description="Age of the newest stored checkpoint in seconds; null if none is stored.", examples=[1260.0]),
    ]


class AuditHealth:
    """`/healthz/audit`: health of sealing and checkpoints."""

    def __init__(self) -> None:
        self._gauges = Probe(checkpoints.gauges)

    @endpoint(permission="public", rate=None, mode="async", response=AuditHealthOut, problems=(AuditBehind,))
    async def on_get(self, req: Request, resp: Response) -> None:
        """Check the sealing and the checkpoints of the audit trail. 503 if either is overdue."""
        found = await self._gauges.get(req.context.dependencies.pool)
        if found.oldest_unsealed_seconds > chain.OVERDUE:
            raise AuditBehind(
                Message("An entry has been unsealed for {seconds:.0f} s.", seconds=found.oldest_unsealed_seconds)
            )
        if found.checkpoint_overdue:
            raise AuditBehind(
                Message("No checkpoint has been stored within {seconds:.0f} s.", seconds=checkpoints.OVERDUE)
            )
        age = found.checkpoint_seconds
        resp.media = AuditHealthOut(
            found.unsealed, round(found.oldest_unsealed_seconds, 1), None if age is None else round(age, 1)
        )


def routes() -> list[tuple[str, object]]:
    """Return the probes of one application by URI template. Their shared results belong to its event loop."""
    return [("/healthz/audit", AuditHealth()), ("/healthz/{process}", ProcessHealth())]
