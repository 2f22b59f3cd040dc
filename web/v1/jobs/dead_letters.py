"""Dead letters, for system admins: search and replay."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, NotFound
from models.jobs import dead_letters
from models.jobs.dead_letters import Blocked, Filter, Place
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import ActorName
from web.http.pagination import encode_cursor

REPLAY = "dead-jobs.replay"
"""Scope of the cursors of replays."""

_PERIOD = {"since": "from", "until": "to"}

Fingerprint = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{12}$(?!\n)",
        description="Identifies dead letters with the same actor and cause.",
        examples=["3f1b2c4d5e6f"],
    ),
]


class DeadJobQuery(PageQuery, kw_only=True, rename=_PERIOD):
    """Conditions on dead letters. They died at or after `from` and before `to`."""

    fingerprint: Fingerprint | None = None
    brand_id: UUID | None = None
    actor: ActorName | None = None
    since: Instant | None = None
    until: Instant | None = None

    @property
    def filter(self) -> Filter:
        """The conditions for the data layer."""
        return Filter(None, self.fingerprint, self.brand_id, self.actor, *_period(self.since, self.until))


def _period(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    return in_utc("from", since), in_utc("to", until)


class ErrorOut(msgspec.Struct):
    """The error of a dead letter. `where` lists the innermost places in the code."""

    kind: str
    message: str
    where: list[str]

    @classmethod
    def of(cls, error: dict[str, Any]) -> "ErrorOut":
        """Return the error from the ledger's JSON."""
        return cls(str(error.get("kind", "")), str(error.get("message", "")), list(error.get("where", [])))


class GroupOut(msgspec.Struct):
    """Dead letters with one fingerprint, of `brands` brands. The error is that of the newest."""

    fingerprint: str
    actor: str
    count: int
    brands: int
    first_at: Instant
    last_at: Instant
    error: ErrorOut

    @classmethod
    def of(cls, group: dead_letters.Group) -> "GroupOut":
        """Return the group as the API shows it."""
        error = ErrorOut.of(group.error)
        return cls(group.fingerprint, group.actor, group.count, group.brands, group.first_at, group.last_at, error)


class DeadJobOut(msgspec.Struct, kw_only=True):
    """A dead letter."""

    id: UUID
    actor: str
    fingerprint: str
    error: ErrorOut
    attempts: int
    crashes: int
    brand_id: UUID | None
    subject_type: str | None
    subject_id: str | None
    request_id: str | None
    created_at: Instant
    died_at: Instant

    @classmethod
    def of(cls, job: dead_letters.DeadJob) -> "DeadJobOut":
        """Return the dead letter as the API shows it."""
        return msgspec.convert(_shown(job), cls)


class DeadJobDetailOut(DeadJobOut, kw_only=True):
    """A dead letter with its arguments."""

    args: list[Any]
    version: int
    user_id: UUID | None
    parent_id: UUID | None
    group_id: UUID | None
    correlation_id: str | None
    traceparent: str | None
    unique_key: str | None


def _shown(job: dead_letters.DeadJob) -> dict[str, Any]:
    fields = {name: getattr(job, name) for name in job.__dataclass_fields__}
    return fields | {"error": msgspec.to_builtins(ErrorOut.of(job.error)), "died_at": fields.pop("finished_at")}


class ReplayIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename=_PERIOD):
    """The dead letters to replay, and the rate. All conditions must hold; at least one is required."""

    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=dead_letters.BATCH)] | None = None
    fingerprint: Fingerprint | None = None
    brand_id: UUID | None = None
    actor: ActorName | None = None
    since: Instant | None = None
    until: Instant | None = None
    args: (
        Annotated[list[Any], msgspec.Meta(max_length=32, description="New arguments, for a single job named in `ids`.")]
        | None
    ) = None
    rate: (
        Annotated[float, msgspec.Meta(ge=0.001, le=1000, description="Jobs per second; all at once by default.")] | None
    ) = None
    dry_run: Annotated[bool, msgspec.Meta(description="Return the expected result and change nothing.")] = False
    cursor: Annotated[str, msgspec.Meta(max_length=1000, description="`next_cursor` of the previous batch.")] | None = (
        None
    )

    @property
    def filter(self) -> Filter:
        """The conditions for the data layer.

        Raises:
            Invalid: there is no condition, or new arguments are given for several jobs.
        """
        conditions = (self.ids, self.fingerprint, self.brand_id, self.actor, self.since, self.until)
        if all(condition is None for condition in conditions):
            raise Invalid("ids", "at least one of ids, fingerprint, brand_id, actor, from and to is required")
        if self.args is not None and (self.ids is None or len(self.ids) != 1):
            reason = "new arguments need exactly one id in `ids`"
            raise Invalid(errors=[{"field": "args", "reason": reason}, {"field": "ids", "reason": reason}])
        return Filter(*conditions[:4], *_period(self.since, self.until))


class BlockedOut(msgspec.Struct):
    """A dead letter that cannot be replayed, because the job `held_by` has its unique key."""

    id: UUID
    held_by: UUID

    @classmethod
    def of(cls, blocked: Blocked) -> "BlockedOut":
        """Return the blocked dead letter as the API shows it."""
        return cls(blocked.id, blocked.held_by)


class ReplayOut(msgspec.Struct, kw_only=True):
    """The result of a replay, or the expected result of a dry run.

    Attributes:
        matching: number of matching dead letters; in a batch, number of handled ones.
        replayed: number of replayed jobs.
        blocked: number of dead letters whose unique key another job has; `blocked_by` lists them.
        sample: some of the matching dead letters, in a dry run.
        last_due_at: due time of the last replayed job.
        next_cursor: start of the next batch, if there is one.
    """

    dry_run: bool
    matching: int
    replayed: int
    blocked: int
    blocked_by: list[BlockedOut] = []
    sample: list[DeadJobOut] = []
    last_due_at: Instant | None = None
    next_cursor: str | None = None


class DeadJobs:
    """`/api/v1/dead-jobs`: dead letters."""

    @endpoint(query=DeadJobQuery, response=Page[DeadJobOut], permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List dead letters, the newest first."""
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
        """List groups of dead letters with the same cause, the largest first."""
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
        """Read a dead letter, with its arguments."""
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
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Replay a batch of dead letters, or return the expected result. Each gets an entry in its brand's audit trail.

        A job keeps its id. Send `next_cursor` with the same conditions to replay the next batch.
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
