"""`202 Accepted`: the answer to a request whose work continues in a job."""

from dataclasses import asdict
from uuid import UUID

import msgspec
from falcon.asgi import Response

from models.jobs import ledger
from models.jobs.ledger import Job, JobRef
from web.http.datetimes import Instant

POLL_AFTER = "1"  # seconds


class Progress(msgspec.Struct):
    """Progress of a job: `done` of `total` steps, and a message."""

    done: int
    total: int | None
    message: str | None


class JobError(msgspec.Struct):
    """Error of a failed job."""

    code: str
    message: str


class ChildrenOut(msgspec.Struct):
    """Numbers of jobs of a group. The rest of `total` has not ended."""

    total: int
    done: int
    dead: int
    cancelled: int


class JobOut(msgspec.Struct):
    """A job that continues the work of an accepted request."""

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
        """Return a job as its owner sees it."""
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
    """Answer 202 with the job and its `Location`. The caller must be signed in to read the job."""
    resp.status = 202
    resp.location = f"/api/v1/jobs/{job.id}"
    resp.set_header("Retry-After", POLL_AFTER)
    resp.media = JobOut.of(ledger.get(job.id))
