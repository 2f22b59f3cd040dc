"""What system admins do about jobs that are not over: cancel one, pause and resume actors, follow a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from models.core.database import after_commit, execute, rows, value
from models.core.errors import NotFound
from models.jobs.ledger import ring

MOST_LINKS = 2000
"""Jobs that one trail shows."""
MOST_COUNTED = 1_000
"""Waiting jobs of an actor that are counted for its list; how many there are exactly is among the metrics."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A kind of job, as a release has announced it; None where none has and its name is known all the same."""

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
    """A job is cancelled, or while it is `running` asked to stop; and whose job it is."""

    state: Literal["cancelled", "running"]
    brand_id: UUID | None


@dataclass(frozen=True, slots=True)
class Link:
    """A job in the trail of a request."""

    id: UUID
    actor: str
    state: str
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
    """Cancel a job that has not been started, or ask the one that runs to stop.

    A body that runs ends where it next says how far it is, or asks; one that never does simply finishes.

    Raises:
        Problem: there is no such job (404), or it is over (409).
    """
    outcome = value("SELECT app.cancel_job(%s)", (job_id,))
    return Cancelled(outcome, value("SELECT brand_id FROM app.job_status WHERE id = %s", (job_id,)))


def actors() -> list[Actor]:
    """Every actor that a release has announced or that is paused; its jobs that wait are counted to `MOST_COUNTED`."""
    found = rows(
        "SELECT coalesce(a.name, p.actor) AS name, a.queue, a.seen_at, w.waiting, p.paused_at,"
        " p.paused_by, u.email AS paused_by_email, p.reason"
        " FROM app.actors AS a FULL JOIN app.paused_actors AS p ON p.actor = a.name"
        " LEFT JOIN public.users AS u ON u.id = p.paused_by"
        " CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (SELECT FROM app.jobs AS j WHERE j.published_at IS NULL"
        " AND j.actor = coalesce(a.name, p.actor) LIMIT %s) AS few) AS w ORDER BY 1",
        (MOST_COUNTED,),
    )
    return [Actor(**actor) for actor in found]


def actor(name: str) -> list[Actor]:
    """The actor of that name, as a list of one.

    Raises:
        NotFound: no release has announced it.
    """
    return _some(actor for actor in actors() if actor.name == name)


def queue(name: str) -> list[Actor]:
    """The actors of a queue.

    Raises:
        NotFound: no release has announced one.
    """
    return _some(actor for actor in actors() if actor.queue == name)


def _some(found: Any) -> list[Actor]:
    listed = list(found)
    if not listed:
        raise NotFound
    return listed


def pause(paused: Sequence[Actor], reason: str) -> None:
    """Let jobs of these actors wait until `resume`. Those that run, or are published, go on."""
    execute("SELECT app.pause_actors(%s, %s)", ([actor.name for actor in paused], reason))


def resume(paused: Sequence[Actor]) -> None:
    """Let the jobs of these actors go on."""
    execute("SELECT app.resume_actors(%s)", ([actor.name for actor in paused],))
    after_commit(ring)


def trail(id: str) -> list[Link]:
    """The jobs that there are because of a request, wherever they are, in the order they were asked for.

    Args:
        id: the request's id; else a correlation id, or the trace id of a `traceparent`.
    """
    found = rows(
        "SELECT id, actor, state, attempts, brand_id, subject_type, subject_id, parent_id, request_id, correlation_id,"
        " nullif(split_part(traceparent, '-', 2), '') AS trace_id, error, created_at, claimed_at, finished_at"
        " FROM app.jobs_of_request(%s, %s)",
        (id, MOST_LINKS),
    )
    return [Link(**link) for link in found]
