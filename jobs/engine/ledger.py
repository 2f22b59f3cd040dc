"""The engine's side of the job ledger: one method for each of its SQL functions."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
import psycopg2.extensions
from dramatiq.errors import BrokerConnectionError

from models.core.database import connect
from models.operations import metrics


class LedgerUnavailable(BrokerConnectionError):
    """The database does not answer. Dramatiq treats it as a lost broker, so that a shutdown continues."""


class ActorLimits(NamedTuple):
    """The limits of one actor, as `app.actor_limits`. A None is no limit."""

    actor: str
    max_running: int | None
    max_per_brand: int | None
    rate: float | None
    burst: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker holds. Later writes must name its `fence`."""

    id: UUID
    actor: str
    args: list[Any]
    attempts: int
    crashes: int
    fence: int
    brand_id: UUID | None
    user_id: UUID | None
    subject_type: str | None
    subject_id: str | None
    request_id: str | None
    correlation_id: str | None
    traceparent: str | None
    created_at: datetime
    is_cancelled: bool = False
    version: int = 1
    group_id: UUID | None = None

    @property
    def is_first(self) -> bool:
        """Return whether this is the job's first claim, counting those before it was a dead letter."""
        return self.fence == 1


@dataclass(frozen=True, slots=True)
class Published:
    """Published job ids with their tenants, and the tenant after which the next poll continues."""

    jobs: list[tuple[UUID, UUID]]
    last_tenant: UUID


LAST_TENANT_KEY = UUID(int=2**128 - 1)
_CLAIM = (
    "SELECT id, actor, args, attempts, crashes, fence, brand_id, user_id, subject_type, subject_id,"
    " request_id, correlation_id, traceparent, created_at, cancel_requested_at IS NOT NULL, version, group_id"
    " FROM app.claim(%s::uuid[], %s)"
)


class Ledger:
    """The SQL functions of the ledger, each in a transaction of its own. May be shared by threads."""

    def __init__(self) -> None:
        self._connection: psycopg2.extensions.connection | None = None
        self._lock = threading.Lock()

    def register_worker(self) -> int:
        """Return a new worker number: the key of the advisory lock that the worker process holds."""
        return int(self._rows("SELECT app.register_worker()")[0][0])

    def publish_due(
        self,
        actors: Sequence[str],
        capacity: int,
        limits: Sequence[ActorLimits] = (),
        after: UUID = LAST_TENANT_KEY,
        dispatched: Mapping[UUID, float] = MappingProxyType({}),
    ) -> Published:
        """Publish up to `capacity` due jobs of these actors.

        Args:
            actors: names of the actors.
            capacity: maximum number of jobs.
            limits: limits of the actors that have any.
            after: tenant after which to continue; each poll visits some of many tenants.
            dispatched: recent dispatches of each tenant.
        """
        sql = "SELECT id, tenant_key FROM app.publish_due(%s, %s, %s::app.actor_limits[], %s, %s::uuid[], %s::float8[])"
        tenant_keys, counts = list(dispatched), list(dispatched.values())
        rows = self._rows(sql, (list(actors), capacity, [tuple(each) for each in limits], after, tenant_keys, counts))
        return Published(
            [(id, tenant_key) for id, tenant_key in rows if id is not None],
            next((tenant_key for id, tenant_key in rows if id is None), after),
        )

    def claim(self, ids: Sequence[UUID], worker_id: int, *, alone: bool = True) -> list[Claim]:
        """Claim published jobs for a worker, and return the claims. Jobs that are over or claimed are left out.

        Quarantined jobs are left out, too, unless there is one id only and the job will run `alone`.
        """
        requested = list(ids) if alone else [*ids, *ids[:1]]  # An id that is repeated is not the only one.
        return [Claim(*r) for r in self._rows(_CLAIM, (requested, worker_id))]

    def quarantined(self, ids: Sequence[UUID]) -> list[UUID]:
        """Of these jobs, return the quarantined ones that can be claimed alone."""
        return [r[0] for r in self._rows("SELECT * FROM app.quarantined_jobs(%s::uuid[])", (list(ids),))]

    def release(self, ids: Sequence[UUID], worker_id: int, delay: float = 0) -> None:
        """Release claimed jobs without charging an attempt. They are due again in `delay` seconds."""
        self._rows("SELECT app.release(%s::uuid[], %s, make_interval(secs => %s))", (list(ids), worker_id, delay))

    def release_except(self, worker_id: int, actors: Sequence[str], held: Iterable[UUID]) -> int:
        """Release a worker's running jobs of these actors, except the held ones. Return their number."""
        sql = "SELECT app.release_except(%s, %s, %s::uuid[])"
        return int(self._rows(sql, (worker_id, list(actors), list(held)))[0][0])

    def retry(self, claim: Claim, delay: float, error: dict[str, Any]) -> None:
        """Let the job wait `delay` seconds for its next attempt."""
        sql = "SELECT app.retry(%s, %s, make_interval(secs => %s), %s)"
        self._rows(sql, (claim.id, claim.fence, delay, json.dumps(error)))

    def dead_letter(self, claim: Claim, error: dict[str, Any]) -> None:
        """Make the job a dead letter."""
        self._rows("SELECT app.dead_letter(%s, %s, %s)", (claim.id, claim.fence, json.dumps(error)))

    def outcome(self, claim: Claim) -> str:
        """Return the outcome of a claim: `done`, `cancelled`, `dead`, `running` or `lost`."""
        return str(self._rows("SELECT app.claim_outcome(%s, %s)", (claim.id, claim.fence))[0][0])

    def finish_cancelled(self, claim: Claim) -> None:
        """End a job whose cancellation was requested."""
        self._rows("SELECT app.finish_cancelled(%s, %s)", (claim.id, claim.fence))

    def is_cancel_requested(self, claim: Claim) -> bool:
        """Return whether the job's cancellation was requested."""
        return bool(self._rows("SELECT app.is_cancel_requested(%s, %s)", (claim.id, claim.fence))[0][0])

    def report_progress(self, claim: Claim, done: int, total: int, message: str) -> bool:
        """Record the job's progress. Return whether its cancellation was requested."""
        sql = "SELECT app.report_progress(%s, %s, %s, %s, %s)"
        return bool(self._rows(sql, (claim.id, claim.fence, done, total, message))[0][0])

    def register_actors(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Record the actors of this release, by queue, for the web tier."""
        pairs = [(name, queue) for queue, names in queues.items() for name in names]
        names, of = [name for name, _ in pairs], [queue for _, queue in pairs]
        self._rows("SELECT app.register_actors(%s::text[], %s::text[])", (names, of))

    def missing_workers(self) -> list[int]:
        """Return the workers that hold jobs but, at this moment, not their liveness lock."""
        return [r[0] for r in self._rows("SELECT * FROM app.missing_workers()")]

    def sweep_missing(
        self, grace: float, max_crashes: int, workers: Sequence[int] | None = None
    ) -> list[tuple[UUID, str]]:
        """Reclaim the jobs of missing workers, of these or of all. Return the id and the new state of each."""
        sql = "SELECT id, state FROM app.sweep_missing(make_interval(secs => %s), %s, %s::int[])"
        return [(r[0], r[1]) for r in self._rows(sql, (grace, max_crashes, None if workers is None else list(workers)))]

    def sweep_overdue(self, limits: Mapping[str, float], max_crashes: int) -> list[tuple[UUID, str]]:
        """Reclaim jobs held longer than their actor's limit in seconds. Return the id and the new state of each."""
        sql = "SELECT id, state FROM app.sweep_overdue(%s, %s::float8[], %s)"
        return [(r[0], r[1]) for r in self._rows(sql, (list(limits), list(limits.values()), max_crashes))]

    def newest_published(self, actors: Sequence[str]) -> list[tuple[UUID, datetime]]:
        """Return the published jobs of these actors and their times of publication, the newest first."""
        return [(r[0], r[1]) for r in self._rows("SELECT * FROM app.newest_published(%s)", (list(actors),))]

    def sweep_unclaimed(self, after: float, present: Sequence[UUID]) -> int:
        """Let jobs wait again that were published `after` seconds ago and are not `present` at the broker.

        Returns:
            The number of these jobs.
        """
        sql = "SELECT app.sweep_unclaimed(make_interval(secs => %s), %s::uuid[])"
        return int(self._rows(sql, (after, list(present)))[0][0])

    def close_groups(self) -> int:
        """Call back for groups whose children are over, and continue chains. Return the number of steps."""
        return int(self._rows("SELECT app.close_groups()")[0][0])

    def enqueue_occurrence(self, schedule: str, due_at: Any, job_id: UUID, actor: str) -> bool:
        """Enqueue one occurrence of a schedule. Return False if it has been enqueued before, by any clock."""
        sql = "SELECT app.enqueue_occurrence(%s, %s, %s, %s)"
        return bool(self._rows(sql, (schedule, due_at, job_id, actor))[0][0])

    def last_occurrence(self, schedule: str) -> Any:
        """Return the due time of the newest enqueued occurrence of a schedule, or None."""
        return self._rows("SELECT app.last_occurrence(%s)", (schedule,))[0][0]

    def count_jobs(self) -> bool:
        """Count the jobs for `/metrics`, unless another clock just has. Return whether this call did."""
        sql = "SELECT app.refresh_job_counts(%s, %s, %s)"
        return bool(self._rows(sql, (metrics.COUNT_INTERVAL, metrics.WINDOW, metrics.MAX_BRANDS))[0][0])

    def beat(self, kind: str, process: str, queue: str = "") -> None:
        """Record a heartbeat of a process; of a worker, for one of its queues."""
        self._rows("SELECT app.record_heartbeat(%s, %s, %s)", (kind, process, queue))

    def close(self) -> None:
        """Close the connection. The next call opens another."""
        with self._lock:
            self._drop()

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect("worker")
                with self._connection.cursor() as cursor:
                    cursor.execute(sql, params)
                    return cursor.fetchall()
            except psycopg2.Error as error:
                is_answer = error.pgcode is not None and not isinstance(error, psycopg2.OperationalError)
                self._drop()
                if is_answer:
                    raise
                # A connection that ends during a statement may raise a plain DatabaseError without an SQLSTATE.
                raise LedgerUnavailable(str(error).strip()) from error  # type: ignore[no-untyped-call]
            except BaseException:
                # The connection may be in the middle of a statement.
                self._drop()
                raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
