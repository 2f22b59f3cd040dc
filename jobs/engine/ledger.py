"""The engine's side of the ledger: each of its SQL functions, called on a connection of the caller's own."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions
from dramatiq.errors import BrokerConnectionError

from jobs.engine.registry import ActorSpec
from models.core.database import connect
from models.operations import metrics


class LedgerUnavailable(BrokerConnectionError):
    """The database does not answer. To Dramatiq that is a lost broker, and no reason not to go on shutting down."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker holds. `fence` is what every later write has to name."""

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
        """Whether nobody has held the job before: neither in an attempt nor before it was a dead letter."""
        return self.fence == 1


@dataclass(frozen=True, slots=True)
class Taken:
    """Published job ids with their tenants, and the tenant after which the next poll continues."""

    jobs: list[tuple[UUID, UUID]]
    last_tenant: UUID


LAST_TENANT_KEY = UUID(int=2**128 - 1)
_LIMITS = ("name", "max_running", "max_per_brand", "rate", "burst")
_CLAIM = (
    "SELECT id, actor, args, attempts, crashes, fence, brand_id, user_id, subject_type, subject_id,"
    " request_id, correlation_id, traceparent, created_at, cancel_requested_at IS NOT NULL, version, group_id"
    " FROM app.claim(%s::uuid[], %s)"
)


class Ledger:
    """The ledger's functions, each one statement and so one transaction. May be shared by threads."""

    def __init__(self) -> None:
        self._connection: psycopg2.extensions.connection | None = None
        self._lock = threading.Lock()

    def register_worker(self) -> int:
        """A number for a worker process: the key of the advisory lock that it will hold."""
        return int(self._rows("SELECT app.register_worker()")[0][0])

    def publish_due(
        self,
        actors: Sequence[str],
        room: int,
        limits: Sequence[ActorSpec] = (),
        after: UUID = LAST_TENANT_KEY,
        turns: Mapping[UUID, float] = MappingProxyType({}),
    ) -> Taken:
        """Mark up to `room` due jobs of these actors as published.

        Args:
            actors: whose jobs to take.
            room: how many at the most.
            limits: of those actors that have any.
            after: where the last look left off; of many tenants each look asks some.
            turns: that tenants have had lately.
        """
        rows = [tuple(getattr(limit, name) for name in _LIMITS) for limit in limits]
        sql = "SELECT id, tenant_key FROM app.publish_due(%s, %s, %s::app.actor_limits[], %s, %s::uuid[], %s::float8[])"
        found = self._rows(sql, (list(actors), room, rows, after, list(turns), list(turns.values())))
        return Taken(
            [(id, tenant_key) for id, tenant_key in found if id is not None],
            next((tenant_key for id, tenant_key in found if id is None), after),
        )

    def claim(self, ids: Sequence[UUID], worker_id: int, *, alone: bool = True) -> list[Claim]:
        """Claim published jobs for a worker. Jobs that are over or taken are not in the answer.

        Nor are those that are suspected of killing their worker, unless there is one id only and it is to run `alone`.
        """
        asked = list(ids) if alone else [*ids, *ids[:1]]  # an id that is named twice is not the only one
        return [Claim(*r) for r in self._rows(_CLAIM, (asked, worker_id))]

    def quarantined(self, ids: Sequence[UUID]) -> list[UUID]:
        """Of these jobs the ones that have to be claimed alone."""
        return [r[0] for r in self._rows("SELECT * FROM app.quarantined_jobs(%s::uuid[])", (list(ids),))]

    def release(self, ids: Sequence[UUID], worker_id: int, delay: float = 0) -> None:
        """Give claimed jobs back, without charging an attempt."""
        self._rows("SELECT app.release(%s::uuid[], %s, make_interval(secs => %s))", (list(ids), worker_id, delay))

    def release_except(self, worker_id: int, actors: Sequence[str], held: Iterable[UUID]) -> int:
        """Give back what a worker is said to hold of these actors, other than what it holds; how many that were."""
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
        """What became of a claim: `done`, `dead`, `running` or `lost`."""
        return str(self._rows("SELECT app.claim_outcome(%s, %s)", (claim.id, claim.fence))[0][0])

    def cancel(self, claim: Claim) -> None:
        """End a job that somebody has cancelled."""
        self._rows("SELECT app.finish_cancelled(%s, %s)", (claim.id, claim.fence))

    def is_cancel_requested(self, claim: Claim) -> bool:
        """Whether somebody has cancelled the job."""
        return bool(self._rows("SELECT app.is_cancel_requested(%s, %s)", (claim.id, claim.fence))[0][0])

    def report_progress(self, claim: Claim, done: int, total: int, message: str) -> bool:
        """Say how far the job is, for people who watch it; whether somebody has cancelled it."""
        sql = "SELECT app.report_progress(%s, %s, %s, %s, %s)"
        return bool(self._rows(sql, (claim.id, claim.fence, done, total, message))[0][0])

    def register_actors(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Write down which actors this release has, by queue: the web tier can't know them otherwise."""
        pairs = [(name, queue) for queue, names in queues.items() for name in names]
        names, of = [name for name, _ in pairs], [queue for _, queue in pairs]
        self._rows("SELECT app.register_actors(%s::text[], %s::text[])", (names, of))

    def missing_workers(self) -> list[int]:
        """Workers that hold jobs, and at this moment not the lock by which they show that they live."""
        return [r[0] for r in self._rows("SELECT * FROM app.missing_workers()")]

    def sweep_missing(
        self, grace: float, max_crashes: int, workers: Sequence[int] | None = None
    ) -> list[tuple[UUID, str]]:
        """Take jobs back from workers that are gone, of these or of all; (id, new state) of each."""
        sql = "SELECT id, state FROM app.sweep_missing(make_interval(secs => %s), %s, %s::int[])"
        return [(r[0], r[1]) for r in self._rows(sql, (grace, max_crashes, None if workers is None else list(workers)))]

    def sweep_overdue(self, limits: Mapping[str, float], max_crashes: int) -> list[tuple[UUID, str]]:
        """Take jobs back that have been held for longer than their actor's limit, in seconds; (id, new state)."""
        sql = "SELECT id, state FROM app.sweep_overdue(%s, %s::float8[], %s)"
        return [(r[0], r[1]) for r in self._rows(sql, (list(limits), list(limits.values()), max_crashes))]

    def newest_published(self, actors: Sequence[str]) -> list[tuple[UUID, datetime]]:
        """What is published of these actors and when, the newest first."""
        return [(r[0], r[1]) for r in self._rows("SELECT * FROM app.newest_published(%s)", (list(actors),))]

    def sweep_unclaimed(self, after: float, present: Sequence[UUID]) -> int:
        """Let jobs that were published `after` seconds ago, and that no queue holds, wait again; how many."""
        sql = "SELECT app.sweep_unclaimed(make_interval(secs => %s), %s::uuid[])"
        return int(self._rows(sql, (after, list(present)))[0][0])

    def close_groups(self) -> int:
        """Call back for the groups whose children are over, and let chains go on; how many steps that were."""
        return int(self._rows("SELECT app.close_groups()")[0][0])

    def enqueue_occurrence(self, schedule: str, due_at: Any, job_id: UUID, actor: str) -> bool:
        """Enqueue one occurrence of a schedule; false if it has been already, by whichever clock."""
        sql = "SELECT app.enqueue_occurrence(%s, %s, %s, %s)"
        return bool(self._rows(sql, (schedule, due_at, job_id, actor))[0][0])

    def last_occurrence(self, schedule: str) -> Any:
        """When the newest enqueued occurrence of a schedule was due, or None."""
        return self._rows("SELECT app.last_occurrence(%s)", (schedule,))[0][0]

    def count_jobs(self) -> bool:
        """Count the jobs for `/metrics`, unless somebody just has; whether it was done."""
        sql = "SELECT app.refresh_job_counts(%s, %s, %s)"
        return bool(self._rows(sql, (metrics.COUNT_INTERVAL, metrics.WINDOW, metrics.MAX_BRANDS))[0][0])

    def beat(self, kind: str, process: str) -> None:
        """Write down a sign of life of a process."""
        self._rows("SELECT app.record_heartbeat(%s, %s)", (kind, process))

    def close(self) -> None:
        """Close the connection; the next call opens another."""
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
                # A connection that ends under a statement may be a plain DatabaseError, with no code of the server's.
                raise LedgerUnavailable(str(error).strip()) from error  # type: ignore[no-untyped-call]
            except BaseException:
                # Whatever it was, the connection may be in the middle of something.
                self._drop()
                raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
