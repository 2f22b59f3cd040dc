"""The computation of a segment's members: its state, and a full one on request."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import membership, recomputation
from models.audiences.membership import Computation, SegmentState
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import accept, audited, endpoint


class ComputationOut(msgspec.Struct):
    """The computation of a segment's members."""

    state: Annotated[SegmentState, Meta(description="State of the members.")]
    problem: Annotated[
        str | None,
        Meta(
            description="Why the segment is `broken`, with the path of the leaf; null in other states.",
            examples=["definition.profile.field: must be a field of contacts"],
        ),
    ]
    computed_as_of: Annotated[
        Instant | None,
        Meta(
            description="Time as of which all contacts were last evaluated, in UTC; null if never. Changes of contacts "
            "since then are included."
        ),
    ]

    @classmethod
    def of(cls, found: Computation) -> "ComputationOut":
        """Build the response."""
        return cls(found.state, found.problem, found.computed_as_of)


class SegmentComputation:
    """`/api/v1/audiences/{segment_id}/computation`: the computation of a segment's members."""

    @endpoint(response=ComputationOut, permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Read whether the members of a segment are up to date, and what is wrong if they are not."""
        resp.media = ComputationOut.of(membership.find_computation(segment_id))

    @endpoint(response=JobOut, status=202, permission="audiences:write", audit="audience.compute", idempotent=True)
    def on_post(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Evaluate all contacts for a segment again. Return the job that waits or runs, if there is one.

        This is not necessary while the state is `current`. The job `segment.recompute` shows its progress in contacts.
        """
        membership.find_computation(segment_id)
        job = recomputation.request(segment_id)
        audited(req, table="audience_segments", record_id=segment_id, after={"job_id": job.id})
        accept(resp, job)


ROUTES: list[tuple[str, object]] = [("/api/v1/audiences/{segment_id:uuid}/computation", SegmentComputation())]
