"""The ledger of jobs, as the rules see it: ask for a job within the transaction that needs it, and look it up.

What a job does is said in `jobs/`, by name; how the ledger moves it is said in the migration `…_jobs.sql`.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from models.core import context
from models.core.context import Identity
from models.core.database import after_commit, execute_deferred, new_id, now, row, uuid7_time
from models.core.errors import Forbidden, NotFound
from models.jobs import wakeup

Unique = Literal["while_waiting", "until_done", "within"]

_ENQUEUE = "CALL app.enqueue(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL)"
# History has a partition for each day: of those in which the job can't have ended, none is even planned for.
_GET = (
    "SELECT id, actor, state, attempts, crashes, subject_type, subject_id, progress_done, progress_total,"
    " progress_message, error, created_at, claimed_at, finished_at FROM app.job_status"
    " WHERE id = %s AND (finished_at IS NULL OR finished_at >= %s AND finished_at < %s)"
)
_EPOCH = datetime.fromtimestamp(0, UTC)
_SKEW = timedelta(days=1)
"""How far the clocks of those who make ids, of this process and of the database may be apart."""
_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job in the ledger. `created` is false where one with the same unique key was there already."""

    id: UUID
    created: bool = True


@dataclass(frozen=True, slots=True)
class Children:
    """How far a group is. What is neither done nor dead nor cancelled is still to come."""

    total: int
    done: int
    dead: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Job:
    """What can be known about a job from outside."""

    id: UUID
    actor: str
    state: str
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
    """Ask for the job `name`, in the caller's transaction: rolled back, it never was; committed, it is never lost.

    Args:
        name: the actor's name, e.g. `"scan.score"`.
        args: its arguments; ids, as JSON.
        delay: how long it has to wait at least.
        priority: 0 (first) to 3 (last), among the jobs of one actor and queue.
        unique: `"until_done"` returns the job with the same key that is not over, if there is one;
            `"while_waiting"` lets all that wait under one key run as one, which starts after the last one committed;
            `"within"` returns the job that was enqueued under the key within the last `window`, over or not.
        unique_key: the key; whose job it is, its name and its arguments by default.
        window: how long a key of `"within"` holds.
        replace: give these arguments to the one that waits under the key, and start its delay anew (debounce). Callers
            of one key then wait for each other's commit.
        version: of the arguments' form; the actor brings older ones up to date.
        subject: what the job is about, as (kind, id); the first argument by default.
        brand_id: whose job it is, where the caller is nobody's; a member's job is the member's brand's.
        user_id: likewise, the fan's.

    Raises:
        ValueError: a window without `"within"`, or the other way round.
        Forbidden: the caller asks for a job of another brand or fan.
    """
    if (unique == "within") != (window is not None):
        raise ValueError('a window and unique="within" belong together')
    request, (brand_id, user_id) = context.request_info(), _owners(brand_id, user_id)
    key = (unique_key or f"{brand_id or user_id or ''}:{name}:{_encode(args)}") if unique else None
    coalesced = unique == "while_waiting" and not replace
    job_id = new_id()
    params = (
        *(job_id, name, _encode(args), delay, priority),
        *((None, key) if coalesced else (key, None)),
        *_subject(name, args, subject),
        *(brand_id, user_id, request.request_id, request.correlation_id, request.traceparent),
        *(window, replace, version),
    )
    after_commit(ring)
    if key is None or coalesced:
        # There is no other job that it could turn out to be, so nobody has to wait for the answer.
        execute_deferred(_ENQUEUE, params)
        return JobRef(job_id)
    found = row(_ENQUEUE, params)
    assert found is not None
    return JobRef(found["p_id"], found["p_created"])


def _subject(name: str, args: tuple[Any, ...], subject: tuple[str, Any] | None) -> tuple[str, str | None]:
    kind, subject_id = subject or (name.partition(".")[0], args[0] if args else None)
    return kind, None if subject_id is None else str(subject_id)


def _owners(brand_id: UUID | None, user_id: UUID | None) -> tuple[UUID | None, UUID | None]:
    """Whose job it is: the caller's own, if nobody is named.

    Raises:
        Forbidden: what `app.enqueue` would say, before the message in which it would say so.
    """
    identity = context.current()
    if identity is None:
        return brand_id, user_id
    brand_id = brand_id or identity.brand_id
    user_id = user_id or (identity.user_id if identity.role == "app_fan" else None)
    _require_own(identity, brand_id, user_id)
    return brand_id, user_id


def _require_own(identity: Identity, brand_id: UUID | None, user_id: UUID | None) -> None:
    if identity.role in ("authenticated", "app_job") and brand_id != identity.brand_id:
        raise Forbidden("A job must belong to the brand that enqueues it.")
    if identity.role == "app_fan" and (user_id != identity.user_id or brand_id is not None):
        raise Forbidden("A job must belong to the fan who enqueues it.")


def get(job_id: UUID) -> Job:
    """Look a job up, running or over, as far as the caller may see it.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    found = row(_GET, (job_id, (uuid7_time(job_id) or _EPOCH) - _SKEW, now() + _SKEW))
    if found is None:
        raise NotFound
    return Job(**found, children=children(job_id))


def children(job_id: UUID) -> Children | None:
    """How far the group is that will call the job back, or else those that the job has started; None without any."""
    found = row("SELECT total, done, dead, cancelled FROM app.children_of(%s)", (job_id,))
    return None if found is None else Children(**found)


def ring() -> None:
    """Wake the relay. Best effort; never raises, since what it is called after has committed."""
    wakeup.ring()
