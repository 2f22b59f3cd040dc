"""Enqueue a job within the caller's transaction, and look jobs up.

`jobs/` holds the bodies of jobs, by actor name. The migrations `…_jobs_*.sql` define the ledger.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from models.core import context
from models.core.context import Identity
from models.core.database import after_commit, execute_deferred, new_id, now, row, uuid7_time, value
from models.core.enumerations import enumeration
from models.core.errors import Forbidden, NotFound
from models.jobs import wakeup

Unique = Literal["while_waiting", "until_done", "within"]

JobState = Annotated[
    Literal["waiting", "published", "running", "done", "cancelled", "dead"],
    enumeration(
        "JobState",
        "State of a job. `waiting`: not due, paused, or before a retry. `published`: a worker will take it. "
        "`running`: a worker runs it. `done`: it succeeded. `cancelled`: a system admin stopped it. `dead`: it "
        "failed for good; a system admin can replay it, and it then waits again under the same id.",
    ),
]
"""CHECK constraints list the same values; a test compares the two."""

LIVE_STATES = ("waiting", "published", "running")
ENDED_STATES = ("done", "cancelled", "dead")
"""States of `app.jobs`, and those of `app.job_history` and `app.dead_jobs`."""

_ENQUEUE = "CALL app.enqueue(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL)"
# The history has a partition for each day. Partitions of days on which the job cannot have ended are not planned.
_SHOWN = (
    "SELECT id, actor, state, attempts, crashes, subject_type, subject_id, progress_done, progress_total,"
    " progress_message, error, created_at, claimed_at, finished_at FROM "
)
_GET = f"{_SHOWN} app.job_status WHERE id = %s AND (finished_at IS NULL OR finished_at >= %s AND finished_at < %s)"
_AWAITED = f"{_SHOWN} app.awaited_job(%s, %s, %s)"
_EPOCH = datetime.fromtimestamp(0, UTC)
_SKEW = timedelta(days=1)
"""Maximum difference between the clocks of the creators of ids, this process and the database."""
_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job in the ledger. `created` is False if a job with the same unique key existed already."""

    id: UUID
    created: bool = True


@dataclass(frozen=True, slots=True)
class Children:
    """Counts of a group's children. The rest of `total` is not over yet."""

    total: int
    done: int
    dead: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Job:
    """The public state of a job."""

    id: UUID
    actor: str
    state: JobState
    attempts: int
    crashes: int
    subject_type: str | None
    subject_id: str | None
    progress_done: int | None
    progress_total: int | None
    progress_message: str | None
    error: dict[str, Any] | None
    created_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    children: Children | None


def enqueue(
    name: str,
    *args: Any,
    delay: timedelta = timedelta(),
    priority: int = 1,
    unique: Unique | None = None,
    unique_key: str | None = None,
    window: timedelta | None = None,
    replace: bool = False,
    version: int = 1,
    subject: tuple[str, Any] | None = None,
    brand_id: UUID | None = None,
    user_id: UUID | None = None,
) -> JobRef:
    """Enqueue a job in the caller's transaction. It exists if, and only if, the transaction commits.

    Args:
        name: actor name, e.g. `"scan.score"`.
        args: arguments as JSON; ids only.
        delay: minimum delay before the job runs.
        priority: 0 (most urgent) to 3, among the jobs of one actor.
        unique: `"until_done"`: return the job with the same key that is not over, if there is one. `"within"`: return
            the job with the key from the last `window`, over or not. `"while_waiting"`: waiting jobs with one key run
            as one job, which starts after the last of them has committed.
        unique_key: the key; by default made of the owner, the name and the arguments.
        window: lifetime of a key of `"within"`.
        replace: give a waiting job with the key these arguments and this delay (debounce). Callers of one key wait for
            each other's commit.
        version: version of the arguments.
        subject: the (type, id) of the object that the job is about; by default the first argument.
        brand_id: the owner, if the caller has no brand.
        user_id: the owner, if the caller is not a fan.

    Raises:
        ValueError: `window` without `"within"`, or `"within"` without `window`.
        Forbidden: the job would belong to another brand or fan.
    """
    if (unique == "within") != (window is not None):
        raise ValueError('window and unique="within" must be used together')
    request, (brand_id, user_id) = context.request_info(), _owner(brand_id, user_id)
    key = (unique_key or f"{brand_id or user_id or ''}:{name}:{_encode(args)}") if unique else None
    is_coalesced = unique == "while_waiting" and not replace
    params = (
        *(job_id := new_id(), name, _encode(args), delay, priority),
        *((None, key) if is_coalesced else (key, None)),
        *_subject(name, args, subject),
        *(brand_id, user_id, request.request_id, request.correlation_id, request.traceparent),
        *(window, replace, version),
    )
    return _call_enqueue(params, job_id, may_exist=key is not None and not is_coalesced)


def _call_enqueue(params: tuple[Any, ...], job_id: UUID, *, may_exist: bool) -> JobRef:
    """Call `app.enqueue`. If no other job can hold the key, do not wait for the answer."""
    after_commit(notify_relay)
    if not may_exist:
        execute_deferred(_ENQUEUE, params)
        return JobRef(job_id)
    found = row(_ENQUEUE, params)
    assert found is not None
    return JobRef(found["p_id"], found["p_created"])


def _subject(name: str, args: tuple[Any, ...], subject: tuple[str, Any] | None) -> tuple[str, str | None]:
    kind, subject_id = subject or (name.partition(".")[0], args[0] if args else None)
    return kind, None if subject_id is None else str(subject_id)


def _owner(brand_id: UUID | None, user_id: UUID | None) -> tuple[UUID | None, UUID | None]:
    """Return the owner of a job: the given one, or the caller.

    Raises:
        Forbidden: the job would belong to another brand or fan.
    """
    identity = context.current()
    if identity is None:
        return brand_id, user_id
    brand_id = brand_id or identity.brand_id
    user_id = user_id or (identity.user_id if identity.role == "app_fan" else None)
    _require_owner(identity, brand_id, user_id)
    return brand_id, user_id


def _require_owner(identity: Identity, brand_id: UUID | None, user_id: UUID | None) -> None:
    """Refuse the owners that `app.job_owner_refusal` refuses: `enqueue` does not wait for the database's answer.

    A test compares the two.
    """
    if identity.role in ("authenticated", "app_job") and brand_id != identity.brand_id:
        raise Forbidden("A job must belong to the brand that enqueues it.")
    if identity.role == "app_fan" and (user_id != identity.user_id or brand_id is not None):
        raise Forbidden("A job must belong to the fan who enqueues it.")


def get(job_id: UUID) -> Job:
    """Return a live or ended job that the caller may see.

    Raises:
        NotFound: the caller can see no job with this id.
    """
    return _read(_GET, job_id)


def get_awaited(job_id: UUID) -> Job:
    """Return a job that the caller's request waits for. The caller need not have the permission to read jobs.

    Raises:
        NotFound: no job with this id belongs to the caller's brand or names the caller.
    """
    return _read(_AWAITED, job_id)


def _read(sql: str, job_id: UUID) -> Job:
    found = row(sql, (job_id, (uuid7_time(job_id) or _EPOCH) - _SKEW, now() + _SKEW))
    if found is None:
        raise NotFound
    return Job(**found, children=children(job_id))


def is_live(job_id: UUID) -> bool:
    """Report whether a job that the caller may see is in the ledger: neither ended nor dead."""
    return bool(value("SELECT EXISTS (SELECT FROM app.jobs WHERE id = %s)", (job_id,)))


def has_live(*actors: str) -> bool:
    """Report whether the ledger has a live job of one of these actors that the caller may see."""
    return bool(value("SELECT EXISTS (SELECT FROM app.jobs WHERE actor = ANY (%s))", (list(actors),)))


def children(job_id: UUID) -> Children | None:
    """Count the children of the group that calls the job back, or else of those that the job has started.

    Returns:
        None if there is no such group.
    """
    found = row("SELECT total, done, dead, cancelled FROM app.children_of(%s)", (job_id,))
    return None if found is None else Children(**found)


def notify_relay() -> None:
    """Wake the relay. Best effort: never raises, because the caller's transaction has committed."""
    wakeup.notify()
