"""Jobs: the progress of accepted requests, and their control by system admins."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Conflict, PreconditionFailed
from models.jobs import control, ledger
from models.jobs.control import Actor, TrailJob
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint, etag, require_match
from web.http.fields import Text200


class JobIsOver(Conflict):
    """The job is over: done, cancelled or dead."""

    code = "job_is_over"


class PauseIn(msgspec.Struct, forbid_unknown_fields=True):
    """The reason of a pause."""

    reason: Text200


class PauseOut(msgspec.Struct):
    """The start of a pause, the admin who began it, and the reason."""

    since: Instant
    by: UUID | None
    by_email: str | None
    reason: str | None


class ActorOut(msgspec.Struct):
    """An actor: its queue, the number of its waiting jobs, and its pause, if any."""

    name: str
    queue: str | None
    waiting: int
    seen_at: Instant | None
    paused: PauseOut | None

    @classmethod
    def of(cls, actor: Actor) -> "ActorOut":
        """Return the actor as the API shows it."""
        paused = None
        if actor.paused_at is not None:
            paused = PauseOut(actor.paused_at, actor.paused_by, actor.paused_by_email, actor.reason)
        return cls(actor.name, actor.queue, actor.waiting, actor.seen_at, paused)


class ActorsOut(msgspec.Struct):
    """Actors."""

    items: list[ActorOut]

    @classmethod
    def of(cls, actors: list[Actor]) -> "ActorsOut":
        """Return actors as the API shows them."""
        return cls([ActorOut.of(actor) for actor in actors])


class TrailQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request: an `X-Request-Id`, an `X-Correlation-Id` or the trace id of a `traceparent`."""

    request_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)", description="One of these ids.")]


class TrailJobOut(msgspec.Struct, kw_only=True):
    """A job that the request caused. `parent_id` is the job that enqueued it, or null for the request itself."""

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
    error: str | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None

    @classmethod
    def of(cls, job: TrailJob) -> "TrailJobOut":
        """Return the job as the API shows it."""
        fields = {name: getattr(job, name) for name in job.__dataclass_fields__}
        error, started_at = fields.pop("error"), fields.pop("claimed_at")
        text = f"{error.get('kind', '')}: {error.get('message', '')}" if error else None
        return cls(**fields, error=text, started_at=started_at)


class TrailOut(msgspec.Struct):
    """The jobs that a request caused, in the order in which they were enqueued."""

    items: list[TrailJobOut]


class Job:
    """`/api/v1/jobs/{job_id}`: the progress of a job."""

    @endpoint(response=JobOut, permission="authenticated", scope="jobs:read")
    def on_get(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Return a job that the caller may see."""
        resp.media = JobOut.of(ledger.get(job_id))


class JobCancel:
    """`/api/v1/jobs/{job_id}/cancel`: cancel a job."""

    @endpoint(
        response=JobOut,
        permission="jobs:write",
        audit="job.cancel",
        problems=(JobIsOver,),
        other_responses={202: JobOut},
    )
    def on_post(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Cancel a job. A running job (202) ends at its next check for a cancellation, or finishes if it has none."""
        done = control.cancel(job_id)
        audited(req, table="jobs", record_id=job_id, brand_id=done.brand_id, after={"state": done.state})
        if done.state == "running":
            resp.status = 202
        resp.media = JobOut.of(ledger.get(job_id))


class Trail:
    """`/api/v1/jobs/trail`: the jobs that a request caused."""

    @endpoint(operation_id="listJobsOfRequest", query=TrailQuery, response=TrailOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the jobs that a request caused, live or ended. The search is fastest by the id of the request."""
        resp.media = TrailOut([TrailJobOut.of(job) for job in control.trail(req.context.query.request_id)])


class Actors:
    """`/api/v1/actors`: the actors."""

    @endpoint(response=ActorsOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the actors and their pauses."""
        resp.media = ActorsOut.of(control.actors())


class ActorPause:
    """`/api/v1/actors/{name}/pause`: the pause of one actor."""

    @endpoint(
        body=PauseIn,
        response=ActorsOut,
        permission="jobs:write",
        audit="actor.pause",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause an actor: its waiting jobs stay waiting. Running and published jobs continue."""
        paused = control.actor(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        audited(req, table="paused_actors", record_key=name, reason=req.context.body.reason)
        _answer(resp, control.actor(name))

    @endpoint(operation_id="resumeActor", response=ActorsOut, permission="jobs:write", audit="actor.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume an actor."""
        control.resume(control.actor(name))
        audited(req, table="paused_actors", record_key=name)
        _answer(resp, control.actor(name))


class QueuePause:
    """`/api/v1/queues/{name}/pause`: the pauses of all actors of a queue."""

    @endpoint(
        body=PauseIn,
        response=ActorsOut,
        permission="jobs:write",
        audit="queue.pause",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause all actors of a queue."""
        paused = control.queue(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        names = [actor.name for actor in paused]
        audited(req, table="paused_actors", record_key=name, after={"actors": names}, reason=req.context.body.reason)
        _answer(resp, control.queue(name))

    @endpoint(operation_id="resumeQueue", response=ActorsOut, permission="jobs:write", audit="queue.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume all actors of a queue, also those that were paused one by one."""
        resumed = control.queue(name)
        control.resume(resumed)
        audited(req, table="paused_actors", record_key=name, after={"actors": [actor.name for actor in resumed]})
        _answer(resp, control.queue(name))


def _version(actors: list[Actor]) -> str:
    """Return the version for `If-Match`. It changes when an actor is paused or resumed."""
    return ";".join(f"{actor.name}={actor.paused_at.isoformat() if actor.paused_at else ''}" for actor in actors)


def _answer(resp: Response, actors: list[Actor]) -> None:
    etag(resp, _version(actors))
    resp.media = ActorsOut.of(actors)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/jobs/trail", Trail()),
    ("/api/v1/jobs/{job_id:uuid}", Job()),
    ("/api/v1/jobs/{job_id:uuid}/cancel", JobCancel()),
    ("/api/v1/actors", Actors()),
    ("/api/v1/actors/{name}/pause", ActorPause()),
    ("/api/v1/queues/{name}/pause", QueuePause()),
]
