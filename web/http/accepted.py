"""`202 Accepted`: the answer to a request whose work continues in a job."""

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from falcon.asgi import Response
from msgspec import Meta

from models.core.errors import Unavailable
from models.jobs import ledger
from models.jobs.ledger import Job, JobRef, JobState
from web.http.datetimes import Instant
from web.http.fields import CreatedAt, Id

StateOfJob = Annotated[
    JobState, Meta(description="State of the job; it ends with `done`, `cancelled` or `dead`.", examples=["done"])
]
Attempts = Annotated[
    int,
    Meta(
        description="Attempts so far, the running one included. Attempts that the end of a worker interrupted don't "
        "count.",
        examples=[1],
    ),
]
StartedAt = Annotated[
    Instant | None, Meta(description="Start of the last attempt, in UTC; null before the first attempt.")
]
FinishedAt = Annotated[Instant | None, Meta(description="End of the job, in UTC; null until it ends.")]

POLL_AFTER = "1"  # seconds


class Progress(msgspec.Struct):
    """Progress of a job."""

    done: Annotated[int, Meta(description="Completed steps; 0 if the job reports no progress.", examples=[3])]
    total: Annotated[
        int | None,
        Meta(description="All steps; null until the job has reported them, or if it reports none.", examples=[5]),
    ]
    message: Annotated[
        str | None,
        Meta(
            description="Present step, in English; null if the job reports none.", examples=["creating its first code"]
        ),
    ]


class JobError(msgspec.Struct):
    """Error of the job's last failed attempt."""

    code: Annotated[
        str,
        Meta(
            description="Code of the error, as in problem documents; `failed` for an unexpected error.",
            examples=["not_ready"],
        ),
    ]
    message: Annotated[
        str, Meta(description="Explanation for people, in English.", examples=["config.ends_at: has passed"])
    ]


class ChildrenOut(msgspec.Struct):
    """Numbers of jobs that the job has started as a group. The rest of `total` has not ended."""

    total: Annotated[int, Meta(description="All jobs of the group, ended or not.", examples=[40])]
    done: Annotated[int, Meta(description="Jobs that ended successfully.", examples=[37])]
    dead: Annotated[int, Meta(description="Jobs that failed for good.", examples=[1])]
    cancelled: Annotated[int, Meta(description="Jobs that a system admin stopped.", examples=[0])]


class JobOut(msgspec.Struct):
    """A job: work that continues after the answer to its request."""

    id: Id
    actor: Annotated[str, Meta(description="Kind of work, as `subject.verb`.", examples=["campaign.launch"])]
    state: StateOfJob
    progress: Annotated[Progress, Meta(description="Progress that the job has reported.")]
    attempts: Attempts
    created_at: CreatedAt
    started_at: StartedAt
    finished_at: FinishedAt
    error: Annotated[
        JobError | None,
        Meta(
            description="Error of the last failed attempt, also while the job waits for the next one; null without one."
        ),
    ]
    children: Annotated[
        ChildrenOut | None, Meta(description="Jobs that it has started as a group; null without a group.")
    ]

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
            error=error_of(job.error),
            children=None if job.children is None else ChildrenOut(**asdict(job.children)),
        )


class JobFailed(Unavailable):
    """The job that the request needs has failed for good, or was cancelled."""

    code = "job_failed"


UNEXPECTED = JobError("failed", "The job failed unexpectedly. System admins see the cause.")


def error_of(error: dict[str, Any] | None) -> JobError | None:
    """Return the error of a job as its owner sees it: messages of unexpected errors are for system admins."""
    if not error:
        return None
    return JobError(error["code"], error["message"]) if "code" in error else UNEXPECTED


def accept(resp: Response, job: JobRef, *, location: str = "") -> None:
    """Answer 202 with the job and its `Location`.

    The caller must be signed in to read the job. `location` is another resource to poll, for callers who may lack the
    permission to read jobs.
    """
    resp.status = 202
    resp.location = location or f"/api/v1/jobs/{job.id}"
    resp.set_header("Retry-After", POLL_AFTER)
    resp.media = JobOut.of(ledger.get_awaited(job.id))
