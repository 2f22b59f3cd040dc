"""Control of jobs by system admins: cancel a job, pause and resume actors, list the jobs of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from models.core.database import after_commit, execute, rows, value
from models.core.errors import NotFound
from models.jobs.ledger import JobState, notify_relay

MAX_TRAIL = 2000
"""Maximum number of jobs in the trail of a request."""
MAX_COUNTED = 1_000
"""Limit of the count of an actor's waiting jobs. The metrics have the exact count."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor that a release has registered, or a paused one; `queue` is None if no release has registered it."""

    name: str
    queue: str | None
    seen_at: datetime | None
    waiting: int
    paused_at: datetime | None
    paused_by: UUID | None
    paused_by_email: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of a cancellation: `running` means that the job ends at its next check."""

    state: Literal["cancelled", "running"]
    brand_id: UUID | None


@dataclass(frozen=True, slots=True)
class TrailJob:
    """A job in the trail of a request."""

    id: UUID
    actor: str
    state: JobState
    attempts: int
    brand_id: UUID | None
    subject_type: str | None
    subject_id: str | None
    parent_id: UUID | None
    request_id: str | None
    correlation_id: str | None
    trace_id: str | None
    error: dict[str, Any] | None
    created_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None


def cancel(job_id: UUID) -> Cancelled:
    """Cancel a job that has not started, or request a running one to stop.

    A running body ends at its next progress report or check. A body without either finishes.

    Raises:
        Problem: there is no such job (404), or it is over (409).
    """
    outcome = value("SELECT app.cancel_job(%s)", (job_id,))
    return Cancelled(outcome, value("SELECT brand_id FROM app.job_status WHERE id = %s", (job_id,)))


def actors() -> list[Actor]:
    """Return every registered or paused actor. Waiting jobs are counted up to `MAX_COUNTED`."""
    found = rows(
        "SELECT coalesce(a.name, p.actor) AS name, a.queue, a.seen_at, w.waiting, p.paused_at,"
        " p.paused_by, u.email AS paused_by_email, p.reason"
        " FROM app.actors AS a FULL JOIN app.paused_actors AS p ON p.actor = a.name"
        " LEFT JOIN public.users AS u ON u.id = p.paused_by"
        " CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (SELECT FROM app.jobs AS j WHERE j.published_at IS NULL"
        " AND j.actor = coalesce(a.name, p.actor) LIMIT %s) AS few) AS w ORDER BY 1",
        (MAX_COUNTED,),
    )
    return [Actor(**actor) for actor in found]


def actor(name: str) -> list[Actor]:
    """Return the actor of that name, as a list of one.

    Raises:
        NotFound: no release has registered it.
    """
    return _require_any(actor for actor in actors() if actor.name == name)


def queue(name: str) -> list[Actor]:
    """Return the actors of a queue.

    Raises:
        NotFound: no release has registered one.
    """
    return _require_any(actor for actor in actors() if actor.queue == name)


def _require_any(found: Any) -> list[Actor]:
    listed = list(found)
    if not listed:
        raise NotFound
    return listed


def pause(paused: Sequence[Actor], reason: str) -> None:
    """Let the waiting jobs of these actors wait until `resume`. Published and running ones continue."""
    execute("SELECT app.pause_actors(%s, %s)", ([actor.name for actor in paused], reason))


def resume(paused: Sequence[Actor]) -> None:
    """Publish the jobs of these actors again."""
    execute("SELECT app.resume_actors(%s)", ([actor.name for actor in paused],))
    after_commit(notify_relay)


def trail(id: str) -> list[TrailJob]:
    """Return the live and ended jobs that a request caused, in the order in which they were enqueued.

    Args:
        id: the id of the request; else a correlation id, or the trace id of a `traceparent`.
    """
    found = rows(
        "SELECT id, actor, state, attempts, brand_id, subject_type, subject_id, parent_id, request_id, correlation_id,"
        " nullif(split_part(traceparent, '-', 2), '') AS trace_id, error, created_at, claimed_at, finished_at"
        " FROM app.jobs_of_request(%s, %s)",
        (id, MAX_TRAIL),
    )
    return [TrailJob(**job) for job in found]
