"""`202 Accepted`: the answer to a request whose work goes on in a job."""

from dataclasses import asdict
from uuid import UUID

import msgspec
from falcon.asgi import Response

from models.jobs import ledger
from models.jobs.ledger import Job, JobRef
from web.http.datetimes import Instant

POLL_AFTER = "1"  # seconds


class Progress(msgspec.Struct):
    """How far a job is: `done` of `total` steps, in words."""

    done: int
    total: int | None
    message: str | None


class JobError(msgspec.Struct):
    """Why a job failed."""

    code: str
    message: str


class ChildrenOut(msgspec.Struct):
    """The jobs of a group. What is neither done nor dead nor cancelled is still to come."""

    total: int
    done: int
    dead: int
    cancelled: int


class JobOut(msgspec.Struct):
    """A job: what happens after a request has been accepted."""

    id: UUID
    actor: str
    state: str
    progress: Progress
    attempts: int
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    error: JobError | None
    children: ChildrenOut | None

    @classmethod
    def of(cls, job: Job) -> "JobOut":
        """A job as it is shown to its owner."""
        return cls(
            id=job.id,
            actor=job.actor,
            state=job.state,
            progress=Progress(job.progress_done or 0, job.progress_total, job.progress_message),
            attempts=job.attempts,
            created_at=job.created_at,
            started_at=job.claimed_at,
            finished_at=job.finished_at,
            error=_error(job),
            children=None if job.children is None else ChildrenOut(**asdict(job.children)),
        )


def _error(job: Job) -> JobError | None:
    if not job.error:
        return None
    return JobError(str(job.error.get("code", "failed")), str(job.error.get("message", "")))


def accept(resp: Response, job: JobRef) -> None:
    """Answer that the work goes on in `job`, and where to look. The caller has to be signed in to see it."""
    resp.status = 202
    resp.location = f"/api/v1/jobs/{job.id}"
    resp.set_header("Retry-After", POLL_AFTER)
    resp.media = JobOut.of(ledger.get(job.id))
