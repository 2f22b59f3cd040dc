"""Dead letters: jobs that failed for good. System admins search them by cause, and replay them once it is removed."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import FieldError, Invalid, NotFound
from models.core.messages import REASON, Message
from models.jobs import dead_letters
from models.jobs.dead_letters import Blocked, Filter, Place
from web.http.accepted import Attempts
from web.http.datetimes import Instant, period_in_utc
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import ActorName, CreatedAt, Id
from web.http.pagination import encode_cursor
from web.v1.jobs.jobs import (
    ActorField,
    BrandOfJob,
    CausingRequest,
    Correlation,
    ParentId,
    SubjectId,
    SubjectType,
    without_empty,
)

REPLAY = "dead-jobs.replay"
"""Scope of the cursors of replays."""

_PERIOD = {"since": "from", "until": "to"}

Fingerprint = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{12}$(?!\n)",
        description="Identifies dead letters with the same actor and cause: kind of error and place in the code.",
        examples=["3f1b2c4d5e6f"],
        extra={REASON: Message("must be 12 hexadecimal digits in lower case")},
    ),
]


DeadFrom = Annotated[
    Instant | None,
    Meta(
        description="Only jobs that died at or after this time. Default: no bound.", examples=["2026-11-22T00:00:00Z"]
    ),
]
DeadTo = Annotated[
    Instant | None,
    Meta(description="Only jobs that died before this time. Default: no bound.", examples=["2026-11-23T00:00:00Z"]),
]
OnlyFingerprint = Annotated[
    Fingerprint | None,
    Meta(
        description="Only dead letters with this fingerprint, from `GET /api/v1/dead-jobs/groups`. Default: all.",
        examples=["3f1b2c4d5e6f"],
    ),
]
OnlyBrand = Annotated[UUID | None, Meta(description="Only jobs of the brand with this id. Default: all.")]
OnlyActor = Annotated[
    ActorName | None, Meta(description="Only jobs of this actor. Default: all.", examples=["scan.score"])
]


class DeadJobQuery(PageQuery, kw_only=True, rename=_PERIOD):
    """Conditions on dead letters; all must hold."""

    fingerprint: OnlyFingerprint = None
    brand_id: OnlyBrand = None
    actor: OnlyActor = None
    since: DeadFrom = None
    until: DeadTo = None

    @property
    def filter(self) -> Filter:
        """The conditions for the data layer."""
        return Filter(None, self.fingerprint, self.brand_id, self.actor, *period_in_utc(self.since, self.until))


class ErrorOut(msgspec.Struct):
    """The error of a dead letter."""

    kind: Annotated[
        str,
        Meta(
            description="Class of the error; `crash` for a job that ended its worker several times.",
            examples=["TimeoutError"],
        ),
    ]
    message: Annotated[
        str,
        Meta(
            description="Message of the error, without secrets and personal data.",
            examples=["the mail server did not answer"],
        ),
    ]
    where: Annotated[
        list[str],
        Meta(
            description="Innermost places in the code, the outermost first: file, line and function.",
            examples=[["actors.py:41 send", "smtp.py:88 deliver"]],
        ),
    ]

    @classmethod
    def of(cls, error: dict[str, Any]) -> "ErrorOut":
        """Return the error from the ledger's JSON."""
        return cls(str(error.get("kind", "")), str(error.get("message", "")), list(error.get("where", [])))


class GroupOut(msgspec.Struct):
    """Dead letters with one fingerprint."""

    fingerprint: Fingerprint
    actor: ActorField
    count: Annotated[int, Meta(description="Dead letters with this fingerprint.", examples=[128])]
    brands: Annotated[int, Meta(description="Different brands that the jobs belong to.", examples=[3])]
    first_at: Annotated[Instant, Meta(description="Time at which the first of them died, in UTC.")]
    last_at: Annotated[Instant, Meta(description="Time at which the last of them died, in UTC.")]
    error: Annotated[ErrorOut, Meta(description="Error of the newest of them.")]

    @classmethod
    def of(cls, group: dead_letters.Group) -> "GroupOut":
        """Return the group as the API shows it."""
        error = ErrorOut.of(group.error)
        return cls(group.fingerprint, group.actor, group.count, group.brands, group.first_at, group.last_at, error)


class DeadJobOut(msgspec.Struct, kw_only=True):
    """A dead letter: a job that failed for good."""

    id: Id
    actor: ActorField
    fingerprint: Fingerprint
    error: Annotated[ErrorOut, Meta(description="Error of the last attempt.")]
    attempts: Attempts
    crashes: Annotated[int, Meta(description="Workers that died while they ran the job.", examples=[0])]
    brand_id: BrandOfJob
    subject_type: SubjectType
    subject_id: SubjectId
    request_id: CausingRequest
    created_at: CreatedAt
    died_at: Annotated[Instant, Meta(description="Time of the last failure, in UTC.")]

    @classmethod
    def of(cls, job: dead_letters.DeadJob) -> "DeadJobOut":
        """Return the dead letter as the API shows it."""
        return msgspec.convert(_shown(job), cls)


class DeadJobDetailOut(DeadJobOut, kw_only=True):
    """A dead letter with its arguments."""

    args: Annotated[
        list[Any],
        Meta(
            description="Arguments of the job, in the order of the actor's parameters.",
            examples=[["01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"]],
        ),
    ]
    version: Annotated[
        int, Meta(description="Version of the arguments; the actor converts those of older releases.", examples=[1])
    ]
    user_id: Annotated[UUID | None, Meta(description="Id of the fan for whom the job works; null for another job.")]
    parent_id: ParentId
    group_id: Annotated[UUID | None, Meta(description="Id of the group of jobs that it is part of; null without one.")]
    correlation_id: Correlation
    traceparent: Annotated[
        str | None,
        Meta(
            description="`traceparent` of the request that caused the job (W3C Trace Context); null without one.",
            examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        ),
    ]
    unique_key: Annotated[
        str | None,
        Meta(
            description="Key that only one live job may have; null without one. While another job has it, a replay is "
            "blocked.",
            examples=["01941f29-7c00-7b10-9c4e-6a1d0e8f2b35:campaign.launch"],
        ),
    ]


def _shown(job: dead_letters.DeadJob) -> dict[str, Any]:
    fields = without_empty({name: getattr(job, name) for name in job.__dataclass_fields__})
    return fields | {"error": msgspec.to_builtins(ErrorOut.of(job.error)), "died_at": fields.pop("finished_at")}


class ReplayIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename=_PERIOD):
    """The dead letters to replay, and the rate. All conditions must hold; at least one is required."""

    ids: Annotated[
        Annotated[list[UUID], Meta(min_length=1, max_length=dead_letters.BATCH)] | None,
        Meta(description="Only the dead letters with these ids, at most 1000. Default: all."),
    ] = None
    fingerprint: OnlyFingerprint = None
    brand_id: OnlyBrand = None
    actor: OnlyActor = None
    since: DeadFrom = None
    until: DeadTo = None
    args: Annotated[
        Annotated[list[Any], Meta(max_length=32)] | None,
        Meta(description="New arguments for the single job that `ids` then names. Default: the arguments stay."),
    ] = None
    rate: Annotated[
        Annotated[float, Meta(ge=0.001, le=1000)] | None,
        Meta(description="Jobs per second that become due. Default: all at once.", examples=[10]),
    ] = None
    dry_run: Annotated[
        bool, Meta(description="Whether to return the expected result and change nothing. Default: false.")
    ] = False
    cursor: Annotated[
        Annotated[str, Meta(max_length=1000)] | None,
        Meta(description="`next_cursor` of the previous batch, with the same conditions. Default: the first batch."),
    ] = None

    @property
    def filter(self) -> Filter:
        """The conditions for the data layer.

        Raises:
            Invalid: there is no condition, or new arguments are given for several jobs.
        """
        conditions = (self.ids, self.fingerprint, self.brand_id, self.actor, self.since, self.until)
        if all(condition is None for condition in conditions):
            raise Invalid("ids", "is required if `fingerprint`, `brand_id`, `actor`, `from` and `to` are absent")
        if self.args is not None and (self.ids is None or len(self.ids) != 1):
            reason = "must be exactly one id if `args` is given"
            raise Invalid(errors=[FieldError("args", "needs exactly one id in `ids`"), FieldError("ids", reason)])
        return Filter(*conditions[:4], *period_in_utc(self.since, self.until))


class BlockedOut(msgspec.Struct):
    """A dead letter that can't be replayed now."""

    id: Annotated[UUID, Meta(description="Id of the dead letter.")]
    held_by: Annotated[UUID, Meta(description="Id of the live job that has the same unique key.")]

    @classmethod
    def of(cls, blocked: Blocked) -> "BlockedOut":
        """Return the blocked dead letter as the API shows it."""
        return cls(blocked.id, blocked.held_by)


class ReplayOut(msgspec.Struct, kw_only=True):
    """The result of a replay, or the expected result of a dry run."""

    dry_run: Annotated[bool, Meta(description="Whether this is the expected result: nothing has changed.")]
    matching: Annotated[
        int, Meta(description="Handled dead letters of this batch; in a dry run, all matching ones.", examples=[128])
    ]
    replayed: Annotated[
        int, Meta(description="Replayed jobs of this batch: each waits again, under its old id.", examples=[127])
    ]
    blocked: Annotated[
        int,
        Meta(
            description="Dead letters that can't be replayed, because another live job has their unique key.",
            examples=[1],
        ),
    ]
    blocked_by: Annotated[
        list[BlockedOut], Meta(description="The blocked dead letters of this batch; empty in a dry run.")
    ] = []
    sample: Annotated[
        list[DeadJobOut], Meta(description="In a dry run, up to 5 of the matching dead letters, newest first.")
    ] = []
    last_due_at: Annotated[
        Instant | None,
        Meta(
            description="Time at which the last replayed job of this batch is due, in UTC; null if none was replayed."
        ),
    ] = None
    next_cursor: Annotated[
        str | None, Meta(description="Send it as `cursor` to replay the next batch; null after the last batch.")
    ] = None


class DeadJobs:
    """`/api/v1/dead-jobs`: dead letters."""

    @endpoint(query=DeadJobQuery, response=Page[DeadJobOut], permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List dead letters, the newest first.

        For an overview after an incident, begin with `GET /api/v1/dead-jobs/groups`.
        """
        asked: DeadJobQuery = req.context.query
        scope = f"dead-jobs:{asked.filter}"
        found = dead_letters.page(
            asked.filter, asked.limit + 1, decode_cursor(asked.cursor, tuple[datetime, UUID], scope=scope)
        )
        items = [DeadJobOut.of(job) for job in found]
        resp.media = page_of(items, asked.limit, lambda job: (job.died_at, job.id), scope=scope)


class DeadJobGroups:
    """`/api/v1/dead-jobs/groups`: dead letters by fingerprint."""

    @endpoint(query=DeadJobQuery, response=Page[GroupOut], permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List groups of dead letters with the same cause, the largest first.

        Remove the cause, then replay a group by its `fingerprint` (`POST /api/v1/dead-jobs/replay`).
        """
        asked: DeadJobQuery = req.context.query
        scope = f"dead-job-groups:{asked.filter}"
        found = dead_letters.groups(
            asked.filter, asked.limit + 1, decode_cursor(asked.cursor, tuple[int, str], scope=scope)
        )
        items = [GroupOut.of(group) for group in found]
        resp.media = page_of(items, asked.limit, lambda group: (group.count, group.fingerprint), scope=scope)


class DeadJob:
    """`/api/v1/dead-jobs/{dead_job_id}`: one dead letter."""

    @endpoint(response=DeadJobDetailOut, permission="jobs:write", audit="dead_job.read")
    def on_get(self, req: Request, resp: Response, dead_job_id: UUID) -> None:
        """Read a dead letter, with its arguments.

        Arguments may identify people, so each reading is recorded.
        """
        audited(req, table="dead_jobs", record_id=dead_job_id)
        resp.media = DeadJobDetailOut.of(dead_letters.get(dead_job_id))


class Replay:
    """`/api/v1/dead-jobs/replay`: replay dead letters."""

    @endpoint(
        operation_id="replayDeadJobs",
        body=ReplayIn,
        response=ReplayOut,
        permission="jobs:write",
        audit="dead_jobs.replay",
        idempotent=True,
        problems=(NotFound,),
        example={"fingerprint": "3f1b2c4d5e6f", "rate": 10, "dry_run": True},
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Replay a batch of dead letters, or return the expected result (`dry_run`).

        The oldest come first, at most 1000 in one request. Send `next_cursor` with the same conditions to replay the
        next batch. A replayed job keeps its id and waits again. Each gets an entry `job.replay` in its brand's audit
        trail. A single unknown id is refused with `not_found`; of several ids, unknown ones are ignored.
        """
        asked: ReplayIn = req.context.body
        resp.media = done = _forecast(asked) if asked.dry_run else _replay(asked)
        sent = msgspec.to_builtins(asked)
        conditions = {name: sent[name] for name in sent if sent[name] is not None and name not in ("cursor", "args")}
        audited(req, table="dead_jobs", after={**conditions, "matching": done.matching, "replayed": done.replayed})


def _forecast(asked: ReplayIn) -> ReplayOut:
    seen = dead_letters.forecast(asked.filter)
    sample = [DeadJobOut.of(job) for job in seen.sample]
    return ReplayOut(dry_run=True, matching=seen.matching, replayed=0, blocked=seen.blocked, sample=sample)


def _replay(asked: ReplayIn) -> ReplayOut:
    # The cursor holds the fields of the place in their order.
    place = decode_cursor(asked.cursor, tuple[datetime, int, datetime, UUID], scope=REPLAY)
    done = dead_letters.replay(asked.filter, args=asked.args, rate=asked.rate, place=place and Place(*place))
    then = done.place
    reached = then and (then.began_at, then.revived, then.died_at, then.id)
    return ReplayOut(
        dry_run=False,
        matching=len(done.ids) + len(done.blocked),
        replayed=len(done.ids),
        blocked=len(done.blocked),
        blocked_by=[BlockedOut.of(blocked) for blocked in done.blocked],
        last_due_at=done.last_due_at,
        next_cursor=encode_cursor(reached, REPLAY) if reached else None,
    )


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/dead-jobs", DeadJobs()),
    ("/api/v1/dead-jobs/groups", DeadJobGroups()),
    ("/api/v1/dead-jobs/replay", Replay()),
    ("/api/v1/dead-jobs/{dead_job_id:uuid}", DeadJob()),
]
