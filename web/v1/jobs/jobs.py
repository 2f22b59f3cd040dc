"""Jobs: the progress of accepted requests, and their control by system admins.

An answer 202 has the job's URL in `Location`: read it, after `Retry-After` seconds, until `state` is an ended one.
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import Conflict, PreconditionFailed
from models.core.messages import REASON, Message
from models.jobs import control, ledger
from models.jobs.control import Actor, TrailJob
from models.jobs.ledger import JobRef
from web.http.accepted import Attempts, FinishedAt, JobOut, StartedAt, StateOfJob
from web.http.datetimes import Instant
from web.http.endpoint import accept, audited, endpoint, etag, require_match
from web.http.fields import CreatedAt, EmailText, Id, Text200


class JobIsOver(Conflict):
    """The job is over: done, cancelled or dead."""

    code = "job_is_over"


PAUSE = {"reason": "The mail server refuses our mails until its operator raises the limit."}
"""Example of the reason of a pause."""

PauseReason = Annotated[
    Text200, Meta(description="Reason for the pause, for other system admins.", examples=[PAUSE["reason"]])
]
ActorField = Annotated[str, Meta(description="Name of the actor, as `subject.verb`.", examples=["scan.score"])]
SubjectType = Annotated[
    str | None, Meta(description="Kind of record that the job is about; null without one.", examples=["campaign"])
]
SubjectId = Annotated[
    str | None,
    Meta(
        description="Id of the record that the job is about; null without one.",
        examples=["01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"],
    ),
]
BrandOfJob = Annotated[
    UUID | None,
    Meta(description="Id of the brand for which the job works; null for a job of a fan or of the platform."),
]
CausingRequest = Annotated[
    str | None,
    Meta(
        description="Id of the request that caused the job (`X-Request-Id`); null for a scheduled job.",
        examples=["0f6b2c1d4e5a4f7b9c8d7e6f5a4b3c2d"],
    ),
]
Correlation = Annotated[
    str | None,
    Meta(
        description="`X-Correlation-Id` of that request, which a client may send to connect several requests; by "
        "default the id of the request.",
        examples=["order-2026-1188"],
    ),
]
ParentId = Annotated[
    UUID | None, Meta(description="Id of the job that enqueued this one; null if a request or the schedule did.")
]


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job with null in place of empty texts: a scheduled job has an empty request id."""
    return {name: None if value == "" else value for name, value in fields.items()}


class PauseIn(msgspec.Struct, forbid_unknown_fields=True):
    """The reason of a pause."""

    reason: PauseReason


class PauseOut(msgspec.Struct):
    """A pause of an actor."""

    since: Annotated[Instant, Meta(description="Start of the pause, in UTC.")]
    by: Annotated[
        UUID | None, Meta(description="Id of the system admin who began the pause; null if the account is gone.")
    ]
    by_email: Annotated[
        EmailText | None,
        Meta(description="Email address of that system admin; null if unknown.", examples=["root@companon.example"]),
    ]
    reason: Annotated[str | None, Meta(description="Reason that the system admin gave.", examples=[PAUSE["reason"]])]


class ActorOut(msgspec.Struct):
    """An actor: a kind of job."""

    name: ActorField
    queue: Annotated[
        str | None,
        Meta(
            description="Queue of its jobs; null for a paused actor that no release has registered.", examples=["scans"]
        ),
    ]
    waiting: Annotated[
        int,
        Meta(
            description="Waiting jobs, those of later due times included. The count stops at 1000; `/metrics` has "
            "the exact number.",
            examples=[12],
        ),
    ]
    seen_at: Annotated[
        Instant | None,
        Meta(description="Time at which a worker last registered the actor at its start, in UTC; null if none has."),
    ]
    paused: Annotated[PauseOut | None, Meta(description="Pause of the actor; null while its jobs run.")]

    @classmethod
    def of(cls, actor: Actor) -> "ActorOut":
        """Return the actor as the API shows it."""
        paused = None
        if actor.paused_at is not None:
            paused = PauseOut(actor.paused_at, actor.paused_by, actor.paused_by_email, actor.reason)
        return cls(actor.name, actor.queue, actor.waiting, actor.seen_at, paused)


class ActorsOut(msgspec.Struct):
    """Actors, ordered by name."""

    items: Annotated[list[ActorOut], Meta(description="All actors of the request; the list has no pages.")]

    @classmethod
    def of(cls, actors: list[Actor]) -> "ActorsOut":
        """Return actors as the API shows them."""
        return cls([ActorOut.of(actor) for actor in actors])


class TrailQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request whose jobs are listed."""

    request_id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)",
            description="`X-Request-Id` or `X-Correlation-Id` of a request, or the trace id of its `traceparent` (32 "
            "hexadecimal digits).",
            examples=["0f6b2c1d4e5a4f7b9c8d7e6f5a4b3c2d"],
            extra={REASON: Message("must have 8 to 64 letters, digits, dots, underscores or hyphens")},
        ),
    ]


class TrailJobOut(msgspec.Struct, kw_only=True):
    """A job that a request caused, directly or through other jobs."""

    id: Id
    actor: ActorField
    state: StateOfJob
    attempts: Attempts
    brand_id: BrandOfJob
    subject_type: SubjectType
    subject_id: SubjectId
    parent_id: ParentId
    request_id: CausingRequest
    correlation_id: Correlation
    trace_id: Annotated[
        str | None,
        Meta(
            description="Trace id of the request's `traceparent` (W3C Trace Context); null without one.",
            examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
        ),
    ]
    error: Annotated[
        str | None,
        Meta(
            description="Kind and message of the last failed attempt; null without one.",
            examples=["NotReady: config.ends_at: has passed"],
        ),
    ]
    created_at: CreatedAt
    started_at: StartedAt
    finished_at: FinishedAt

    @classmethod
    def of(cls, job: TrailJob) -> "TrailJobOut":
        """Return the job as the API shows it."""
        fields = without_empty({name: getattr(job, name) for name in job.__dataclass_fields__})
        error, started_at = fields.pop("error"), fields.pop("claimed_at")
        text = f"{error.get('kind', '')}: {error.get('message', '')}" if error else None
        return cls(**fields, error=text, started_at=started_at)


class TrailOut(msgspec.Struct):
    """The jobs that a request caused, in the order in which they were enqueued."""

    items: Annotated[list[TrailJobOut], Meta(description="At most 2000 jobs; the list has no pages.")]


class Job:
    """`/api/v1/jobs/{job_id}`: the progress of a job."""

    @endpoint(response=JobOut, permission="authenticated", scope="jobs:read")
    def on_get(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Read the state and progress of a job.

        Poll the `Location` of a 202 answer until `finished_at` is set, not more often than its `Retry-After` says.
        Members see the jobs of their brand, except Creators; fans see their own.
        """
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
        """Cancel a job.

        A job that does not run yet ends at once (200). A running job (202) ends at its next progress report or check; a
        job without either finishes. Poll `GET /api/v1/jobs/{job_id}` for the result. A job that has ended is refused
        with `job_is_over`.
        """
        done = control.cancel(job_id)
        audited(req, table="jobs", record_id=job_id, brand_id=done.brand_id, after={"state": done.state})
        if done.state == "running":
            accept(resp, JobRef(job_id, created=False))
        else:
            resp.media = JobOut.of(ledger.get(job_id))


class Trail:
    """`/api/v1/jobs/trail`: the jobs that a request caused."""

    @endpoint(operation_id="listJobsOfRequest", query=TrailQuery, response=TrailOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the jobs that a request caused, in the order in which they were enqueued.

        The list has live and ended jobs, and the jobs that these have enqueued. It answers "what happened after this
        request?"; the search is fastest by the `X-Request-Id`.
        """
        resp.media = TrailOut([TrailJobOut.of(job) for job in control.trail(req.context.query.request_id)])


class Actors:
    """`/api/v1/actors`: the actors."""

    @endpoint(response=ActorsOut, permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the actors, the number of their waiting jobs, and their pauses."""
        resp.media = ActorsOut.of(control.actors())


class ActorPause:
    """`/api/v1/actors/{name}/pause`: the pause of one actor."""

    @endpoint(
        body=PauseIn,
        response=ActorsOut,
        permission="jobs:write",
        audit="actor.pause",
        problems=(PreconditionFailed,),
        example=PAUSE,
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause an actor: its waiting jobs stay waiting.

        Running and published jobs continue. New jobs are accepted and wait, too. A second pause replaces the reason.
        """
        paused = control.actor(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        audited(req, table="paused_actors", record_key=name, reason=req.context.body.reason)
        _answer(resp, control.actor(name))

    @endpoint(operation_id="resumeActor", response=ActorsOut, permission="jobs:write", audit="actor.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume an actor: its waiting jobs run again. An actor without a pause stays as it is."""
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
        example=PAUSE,
    )
    def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Pause all actors of a queue.

        Each of them gets a pause of its own, as by `PUT /api/v1/actors/{name}/pause`, and can be resumed alone.
        """
        paused = control.queue(name)
        require_match(req, _version(paused))
        control.pause(paused, req.context.body.reason)
        names = [actor.name for actor in paused]
        audited(req, table="paused_actors", record_key=name, after={"actors": names}, reason=req.context.body.reason)
        _answer(resp, control.queue(name))

    @endpoint(operation_id="resumeQueue", response=ActorsOut, permission="jobs:write", audit="queue.resume")
    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        """Resume all actors of a queue: their waiting jobs run again.

        Actors that were paused one by one are resumed, too.
        """
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
