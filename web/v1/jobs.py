"""Jobs: where work goes on that a request was accepted for."""

from uuid import UUID

from falcon.asgi import Request, Response

from models import jobs
from web.accepted import JobOut
from web.endpoint import endpoint


class Job:
    """`/api/v1/jobs/{job_id}`: how far a job is."""

    @endpoint(response=JobOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response, job_id: UUID) -> None:
        """Look up a job of the caller's."""
        resp.media = JobOut.of(jobs.get(job_id))


ROUTES: list[tuple[str, object]] = [("/api/v1/jobs/{job_id:uuid}", Job())]
