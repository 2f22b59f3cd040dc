"""Passport: the state of downstream services, and the calls that jobs have sent to them.

A failed call is retried with its job. If the job has failed for good, replay it once the service is well.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import Conflict, NotFound
from models.jobs.ledger import JobRef
from models.passport import calls, services
from models.passport.calls import CallOutcome, Transport
from models.passport.health import BreakerState
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, accept, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Id

ServiceName = Annotated[str, Meta(description="Name of the service.", examples=["locker"])]
Outcome = Annotated[CallOutcome, Meta(description="Outcome of the call.", examples=["failed"])]
Milliseconds = Annotated[float, Meta(ge=0, examples=[12.5])]
Count = Annotated[int, Meta(ge=0)]


class ServiceOut(msgspec.Struct, kw_only=True):
    """State of a downstream service. Figures cover the calls of the last 15 minutes."""

    name: ServiceName
    transport: Annotated[Transport, Meta(description="Implementation in use.", examples=["local"])]
    breaker: Annotated[BreakerState, Meta(description="State of the circuit breaker.", examples=["closed"])]
    breaker_is_shared: Annotated[
        bool,
        Meta(description="Whether all workers share the breaker; false while Redis fails: each has its own."),
    ]
    calls: Annotated[Count, Meta(description="Calls that jobs have made.", examples=[1200])]
    failed: Annotated[Count, Meta(description="Calls without an answer.", examples=[3])]
    refused: Annotated[Count, Meta(description="Calls that the service refused for a business reason.", examples=[41])]
    denied: Annotated[Count, Meta(description="Calls that the policy refused.", examples=[0])]
    error_share: Annotated[
        float, Meta(ge=0, le=1, description="Share of failed calls among all calls, 0 to 1.", examples=[0.0025])
    ]
    p50_ms: Annotated[Milliseconds | None, Meta(description="Median duration in milliseconds; null without a call.")]
    p95_ms: Annotated[
        Milliseconds | None, Meta(description="95th percentile of the duration in milliseconds; null without a call.")
    ]
    last_success_at: Annotated[
        Instant | None, Meta(description="Time of the newest answered or refused call, in UTC; null without one.")
    ]
    last_failure_at: Annotated[
        Instant | None, Meta(description="Time of the newest failed call, in UTC; null without one.")
    ]

    @classmethod
    def of(cls, report: services.Report) -> "ServiceOut":
        """Return the state as the API shows it."""
        return cls(
            name=report.name,
            transport=report.transport,
            breaker=report.breaker,
            breaker_is_shared=report.is_shared,
            calls=report.calls,
            failed=report.failed,
            refused=report.refused,
            denied=report.denied,
            error_share=report.failed / report.calls if report.calls else 0.0,
            p50_ms=report.p50_ms,
            p95_ms=report.p95_ms,
            last_success_at=report.last_success_at,
            last_failure_at=report.last_failure_at,
        )


class ServicesOut(msgspec.Struct):
    """The downstream services."""

    items: Annotated[list[ServiceOut], Meta(description="All services.")]


class CallQuery(PageQuery, kw_only=True):
    """Conditions on calls; all must hold."""

    service: Annotated[
        Annotated[str, Meta(min_length=2, max_length=20)] | None,
        Meta(description="Only calls of this service. Default: all.", examples=["locker"]),
    ] = None
    outcome: Annotated[
        CallOutcome | None, Meta(description="Only calls with this outcome. Default: all.", examples=["failed"])
    ] = None
    brand_id: Annotated[UUID | None, Meta(description="Only calls for the brand with this id. Default: all.")] = None


class CallOut(msgspec.Struct, kw_only=True):
    """A call of a downstream service by a job. Kept for 14 days."""

    id: Id
    brand_id: Annotated[
        UUID | None, Meta(description="Id of the brand for which the job works; null for a fan or the platform.")
    ]
    service: ServiceName
    operation: Annotated[str, Meta(description="Operation of the service.", examples=["reserve"])]
    transport: Annotated[Transport, Meta(description="Implementation that was called.", examples=["local"])]
    job_id: Annotated[UUID, Meta(description="Id of the job, as in `GET /api/v1/jobs/{job_id}`.")]
    attempt: Annotated[int, Meta(description="Attempt of the job that made the call, from 1.", examples=[1])]
    outcome: Outcome
    error_code: Annotated[
        str | None,
        Meta(
            description="Code of the refusal, or cause of the failure: `timeout`, `connection`, `status`, "
            "`throttled`, `bad_answer` …; null for an answered call.",
            examples=["timeout"],
        ),
    ]
    duration_ms: Annotated[int, Meta(ge=0, description="Duration in milliseconds.", examples=[18])]
    request_bytes: Annotated[int, Meta(ge=0, description="Size of the request in bytes.", examples=[211])]
    answer_bytes: Annotated[int, Meta(ge=0, description="Size of the answer in bytes; 0 without one.", examples=[96])]
    request: Annotated[
        dict[str, Any],
        Meta(
            description="Request without personal data and secrets, which are `[redacted]`; "
            '`{"truncated": <bytes>}` for a large one.',
            examples=[{"campaign_id": "01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8", "user_id": "[redacted]"}],
        ),
    ]
    created_at: CreatedAt

    @classmethod
    def of(cls, call: calls.ServiceCall) -> "CallOut":
        """Return the call as the API shows it."""
        return cls(**{name: getattr(call, name) for name in call.__dataclass_fields__})


class Services:
    """`/api/v1/passport/services`: the downstream services."""

    @endpoint(response=ServicesOut, permission="jobs:write", operation_id="listServices")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the downstream services with their state, latency and errors."""
        resp.media = ServicesOut([ServiceOut.of(report) for report in services.reports()])


class Calls:
    """`/api/v1/passport/calls`: calls of downstream services."""

    @endpoint(query=CallQuery, response=Page[CallOut], permission="jobs:write", operation_id="listServiceCalls")
    def on_get(self, req: Request, resp: Response) -> None:
        """List calls of downstream services, the newest first."""
        asked: CallQuery = req.context.query
        conditions = calls.Filter(asked.service, asked.outcome, asked.brand_id)
        scope = f"passport-calls:{conditions}"
        found = calls.find(conditions, asked.limit + 1, decode_cursor(asked.cursor, tuple[datetime, UUID], scope=scope))
        items = [CallOut.of(call) for call in found]
        resp.media = page_of(items, asked.limit, lambda call: (call.created_at, call.id), scope=scope)


class CallReplay:
    """`/api/v1/passport/calls/{call_id}/replay`: replay the job of a call."""

    @endpoint(
        response=JobOut,
        status=202,
        permission="jobs:write",
        audit="passport.replay",
        idempotent=True,
        problems=(NotFound, Conflict),
        operation_id="replayServiceCall",
    )
    def on_post(self, req: Request, resp: Response, call_id: UUID) -> None:
        """Replay the job of a failed call, if the job has failed for good.

        The job keeps its id and its idempotency keys, so the service performs the call once. A call whose job is
        still retried, or has succeeded, is refused with `not_found`.
        """
        audited(req, table="passport_calls", record_id=call_id)
        accept(resp, JobRef(calls.replay(call_id)))


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/passport/services", Services()),
    ("/api/v1/passport/calls", Calls()),
    ("/api/v1/passport/calls/{call_id:uuid}/replay", CallReplay()),
]
