"""Jobs: where work goes on that a request was accepted for, and for system admins what can be done about them."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Conflict, PreconditionFailed
from models.jobs import control, ledger
from models.jobs.control import Actor, Link
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint, etag, require_match
from web.http.fields import Text200


class JobIsOver(Conflict):
    """The job has ended, one way or another."""

    code = "job_is_over"


class PauseIn(msgspec.Struct, forbid_unknown_fields=True):
    """Why jobs are to wait."""

    reason: Text200


class PauseOut(msgspec.Struct):
    """Since when jobs wait, and who wants that why."""

    since: Instant
    by: UUID | None
    by_email: str | None
    reason: str | None


class ActorOut(msgspec.Struct):
    """A kind of job: its queue, how many of it wait, and whether they are to."""

    name: str
    queue: str | None
    waiting: int
    seen_at: Instant | None
    paused: PauseOut | None

    @classmethod
    def of(cls, actor: Actor) -> "ActorOut":
        """As admins see it."""
        paused = None
        if actor.paused_at is not None:
            paused = PauseOut(actor.paused_at, actor.paused_by, actor.paused_by_email, actor.reason)
        return cls(actor.name, actor.queue, actor.waiting, actor.seen_at, paused)


class ActorsOut(msgspec.Struct):
    """Kinds of jobs."""

    items: list[ActorOut]

    @classmethod
    def of(cls, actors: list[Actor]) -> "ActorsOut":
        """As admins see them."""
        return cls([ActorOut.of(actor) for actor in actors])


class TrailQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whose trail: an `X-Request-Id`, an `X-Correlation-Id` or the trace id of a `traceparent`."""

    request_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)", description="One of these ids.")]


class LinkOut(msgspec.Struct, kw_only=True):
    """A job that there is because of the request; `parent_id` is the job that asked for it, null the request itself."""

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
    def of(cls, link: Link) -> "LinkOut":
        """As admins see it."""
        fields = {name: getattr(link, name) for name in link.__dataclass_fields__}
        error, started_at = fields.pop("error"), fields.pop("claimed_at")
        said = f"{error.get('kind', '')}: {error.get('message', '')}" if error else None
        return cls(**fields, error=said, started_at=started_at)


class TrailOut(msgspec.Struct):
    """What happened because of a request, in the order it was asked for."""

    items: list[LinkOut]


class Job:
    """`/api/v1/jobs/{job_id}`: how far a job is."""

    @endpoint(response=JobOut, permission="authenticated", scope="jobs:read")
    def on_get(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Look up a job of the caller's."""
        resp.media = JobOut.of(ledger.get(job_id))


class JobCancel:
    """`/api/v1/jobs/{job_id}/cancel`: a job that nobody wants any more."""

    @endpoint(response=JobOut, permission="jobs:write", audit="job.cancel", problems=(JobIsOver,), also={202: JobOut})
    def on_post(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Cancel a job. One that runs is asked to stop (202): where it looks it ends as cancelled, else it finishes."""
        done = control.cancel(job_id)
        audited(req, table="jobs", record_id=job_id, brand_id=done.brand_id, after={"state": done.state})
        if done.state == "running":
            resp.status = 202
        resp.media = JobOut.of(ledger.get(job_id))


class Trail:
    """`/api/v1/jobs/trail`: what happened because of a request."""

    @endpoint(query=TrailQuery, response=TrailOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the jobs that a request has set off, also those that are over. By the request's own id it is quick."""
        resp.media = TrailOut([LinkOut.of(link) for link in control.trail(req.context.query.request_id)])


class Actors:
    """`/api/v1/actors`: the kinds of jobs."""

    @endpoint(response=ActorsOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the kinds of jobs."""
        resp.media = ActorsOut.of(control.actors())


class ActorPause:
    """`/api/v1/actors/{name}/pause`: whether jobs of one kind wait."""

    @endpoint(
        body=PauseIn,
        response=ActorsOut,
        permission="jobs:write",
        audit="actor.pause",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause a kind of job. Those that run go on, and so do the few that have been handed out."""
        paused = control.actor(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        audited(req, table="paused_actors", record_key=name, reason=req.context.body.reason)
        _answer(resp, control.actor(name))

    @endpoint(response=ActorsOut, permission="jobs:write", audit="actor.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume a kind of job."""
        control.resume(control.actor(name))
        audited(req, table="paused_actors", record_key=name)
        _answer(resp, control.actor(name))


class QueuePause:
    """`/api/v1/queues/{name}/pause`: whether the jobs of all kinds in a queue wait."""

    @endpoint(
        body=PauseIn,
        response=ActorsOut,
        permission="jobs:write",
        audit="queue.pause",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause all kinds of jobs in a queue."""
        paused = control.queue(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        names = [actor.name for actor in paused]
        audited(req, table="paused_actors", record_key=name, after={"actors": names}, reason=req.context.body.reason)
        _answer(resp, control.queue(name))

    @endpoint(response=ActorsOut, permission="jobs:write", audit="queue.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume all kinds of jobs in a queue, also those that were paused one by one."""
        resumed = control.queue(name)
        control.resume(resumed)
        audited(req, table="paused_actors", record_key=name, after={"actors": [actor.name for actor in resumed]})
        _answer(resp, control.queue(name))


def _version(actors: list[Actor]) -> str:
    """What an `If-Match` guards: that nobody else has paused or resumed them meanwhile."""
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
