"""Dead letters, for system admins: what died of what, and how it is made to run again."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, NotFound
from models.jobs import dead_letters
from models.jobs.dead_letters import Blocked, Filter, Place
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import Page, PageQuery, after, audited, endpoint, page_of
from web.http.fields import ActorName
from web.http.pagination import cursor_of

REPLAY = "dead-jobs.replay"
"""What the cursors of replays are made for."""

_PERIOD = {"since": "from", "until": "to"}

Fingerprint = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{12}$(?!\n)",
        description="What jobs have in common that died of the same.",
        examples=["3f1b2c4d5e6f"],
    ),
]


class DeadJobQuery(PageQuery, kw_only=True, rename=_PERIOD):
    """Which dead letters: `from` ≤ when they died < `to`."""

    fingerprint: Fingerprint | None = None
    brand_id: UUID | None = None
    actor: ActorName | None = None
    since: Instant | None = None
    until: Instant | None = None

    @property
    def filter(self) -> Filter:
        """As the rules take it."""
        return Filter(None, self.fingerprint, self.brand_id, self.actor, *_period(self.since, self.until))


def _period(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    return in_utc("from", since), in_utc("to", until)


class ErrorOut(msgspec.Struct):
    """What a job died of; `where` are the innermost places in the code."""

    kind: str
    message: str
    where: list[str]

    @classmethod
    def of(cls, error: dict[str, Any]) -> "ErrorOut":
        """From what the ledger keeps."""
        return cls(str(error.get("kind", "")), str(error.get("message", "")), list(error.get("where", [])))


class GroupOut(msgspec.Struct):
    """Dead letters that died of the same, of `brands` brands; the error is the newest one's."""

    fingerprint: str
    actor: str
    count: int
    brands: int
    first_at: Instant
    last_at: Instant
    error: ErrorOut

    @classmethod
    def of(cls, group: dead_letters.Group) -> "GroupOut":
        """As admins see it."""
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
        """As admins see it in a list."""
        return msgspec.convert(_shown(job), cls)


class DeadJobInFullOut(DeadJobOut, kw_only=True):
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
    """Which dead letters to replay and how fast. All conditions have to hold, and there has to be one."""

    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=dead_letters.BATCH)] | None = None
    fingerprint: Fingerprint | None = None
    brand_id: UUID | None = None
    actor: ActorName | None = None
    since: Instant | None = None
    until: Instant | None = None
    args: Annotated[list[Any], msgspec.Meta(max_length=32, description="Other arguments, for a single one.")] | None = (
        None
    )
    rate: (
        Annotated[float, msgspec.Meta(ge=0.001, le=1000, description="Jobs a second; all at once by default.")] | None
    ) = None
    dry_run: Annotated[bool, msgspec.Meta(description="Say what would be done, and change nothing.")] = False
    cursor: Annotated[str, msgspec.Meta(max_length=1000, description="`next_cursor` of the batch before.")] | None = (
        None
    )

    @property
    def filter(self) -> Filter:
        """As the rules take it.

        Raises:
            Invalid: everything would be replayed, or many with the same arguments.
        """
        conditions = (self.ids, self.fingerprint, self.brand_id, self.actor, self.since, self.until)
        if all(condition is None for condition in conditions):
            raise Invalid("ids", "say which: ids, fingerprint, brand_id, actor, from or to")
        if self.args is not None and (self.ids is None or len(self.ids) != 1):
            reason = "other arguments are for a single one, named in ids"
            raise Invalid(errors=[{"field": "args", "reason": reason}, {"field": "ids", "reason": reason}])
        return Filter(*conditions[:4], *_period(self.since, self.until))


class BlockedOut(msgspec.Struct):
    """A letter that stays dead, since the job `held_by` has its unique key."""

    id: UUID
    held_by: UUID

    @classmethod
    def of(cls, blocked: Blocked) -> "BlockedOut":
        """As admins see it."""
        return cls(blocked.id, blocked.held_by)


class ReplayOut(msgspec.Struct, kw_only=True):
    """What was done, or in a dry run would be.

    Attributes:
        matching: how many there are; in a batch, how many it took on.
        replayed: how many wait again now.
        blocked: how many stay dead, because another job has their unique key; `blocked_by` says which.
        sample: a few of those that match, in a dry run.
        last_due_at: when the last of them is due.
        next_cursor: where the next batch begins, if there is more.
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
            asked.filter, asked.limit + 1, after(asked.cursor, tuple[datetime, UUID], scope=scope)
        )
        items = [DeadJobOut.of(job) for job in found]
        resp.media = page_of(items, asked.limit, lambda job: (job.died_at, job.id), scope=scope)


class DeadJobGroups:
    """`/api/v1/dead-jobs/groups`: dead letters by what they died of."""

    @endpoint(query=DeadJobQuery, response=Page[GroupOut], permission="jobs:write")
    def on_get(self, req: Request, resp: Response) -> None:
        """List what dead letters died of, the largest group first."""
        asked: DeadJobQuery = req.context.query
        scope = f"dead-job-groups:{asked.filter}"
        found = dead_letters.groups(asked.filter, asked.limit + 1, after(asked.cursor, tuple[int, str], scope=scope))
        items = [GroupOut.of(group) for group in found]
        resp.media = page_of(items, asked.limit, lambda group: (group.count, group.fingerprint), scope=scope)


class DeadJob:
    """`/api/v1/dead-jobs/{dead_job_id}`: one dead letter."""

    @endpoint(response=DeadJobInFullOut, permission="jobs:write", audit="dead_job.read")
    def on_get(self, req: Request, resp: Response, dead_job_id: UUID) -> None:
        """Read a dead letter, with its arguments."""
        audited(req, table="dead_jobs", record_id=dead_job_id)
        resp.media = DeadJobInFullOut.of(dead_letters.get(dead_job_id))


class Replay:
    """`/api/v1/dead-jobs/replay`: make dead letters jobs again."""

    @endpoint(
        body=ReplayIn,
        response=ReplayOut,
        permission="jobs:write",
        audit="dead_jobs.replay",
        idempotent=True,
        problems=(NotFound,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Replay a batch of dead letters, or say what that would do. Each has an entry in its brand's audit trail.

        A job keeps its id. `next_cursor`, sent back with the same conditions, goes on where the batch ended.
        """
        asked: ReplayIn = req.context.body
        resp.media = done = _forecast(asked) if asked.dry_run else _replay(asked)
        said = msgspec.to_builtins(asked)
        conditions = {name: said[name] for name in said if said[name] is not None and name not in ("cursor", "args")}
        audited(req, table="dead_jobs", after={**conditions, "matching": done.matching, "replayed": done.replayed})


def _forecast(asked: ReplayIn) -> ReplayOut:
    seen = dead_letters.forecast(asked.filter)
    sample = [DeadJobOut.of(job) for job in seen.sample]
    return ReplayOut(dry_run=True, matching=seen.matching, replayed=0, blocked=seen.blocked, sample=sample)


def _replay(asked: ReplayIn) -> ReplayOut:
    # A place is written as its fields in order, which is how it is read.
    place = after(asked.cursor, tuple[datetime, int, datetime, UUID], scope=REPLAY)
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
        next_cursor=cursor_of(reached, REPLAY) if reached else None,
    )


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/dead-jobs", DeadJobs()),
    ("/api/v1/dead-jobs/groups", DeadJobGroups()),
    ("/api/v1/dead-jobs/replay", Replay()),
    ("/api/v1/dead-jobs/{dead_job_id:uuid}", DeadJob()),
]
