"""The record of calls of downstream services."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from models.audit import trail
from models.core.database import execute, execute_deferred, new_id, row, rows
from models.core.enumerations import enumeration
from models.core.errors import Conflict, NotFound
from models.core.personal_data import TELLING_NAMES
from models.jobs import dead_letters

KEEP_CALLS = timedelta(days=14)
"""Retention of the record of a call."""
KEEP_ANSWERS = timedelta(days=30)
"""Retention of a local answer by its key: a job that is replayed later relies on the natural keys of the service."""
MAX_REQUEST_BYTES = 4096
"""Maximum size of a stored request."""
REDACTED = "[redacted]"

CallOutcome = Annotated[
    Literal["ok", "refused", "failed", "denied"],
    enumeration(
        "CallOutcome",
        "Outcome of a call. `ok`: answered. `refused`: the service refused it for a business reason. `failed`: no "
        "answer, or none that can be read; the job is retried. `denied`: the policy refused it, and it was not sent.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""
Transport = Annotated[
    Literal["local", "http"],
    enumeration(
        "Transport", "Implementation of a service. `local`: on this system's database. `http`: another server."
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

_AUDITED: Mapping[str, trail.AuditOutcome] = {"ok": "ok", "refused": "refused", "failed": "failed", "denied": "refused"}
_INSERT = """
    INSERT INTO public.passport_calls (brand_id, service, operation, transport, job_id, attempt, outcome, error_code,
        answer_bytes, id, duration_ms, request_bytes, request)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_STORED = (
    "brand_id", "service", "operation", "transport", "job_id", "attempt", "outcome", "error_code", "answer_bytes",
)  # fmt: skip
"""The first columns of `_INSERT`."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCall:
    """One call of a service. `request` is redacted; sizes are in bytes."""

    id: UUID
    brand_id: UUID | None
    service: str
    operation: str
    transport: Transport
    job_id: UUID
    attempt: int
    outcome: CallOutcome
    error_code: str | None
    duration_ms: int
    request_bytes: int
    answer_bytes: int
    request: Any
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A call that has ended, before it is stored."""

    service: str
    operation: str
    transport: Transport
    key: str
    brand_id: UUID | None
    job_id: UUID
    attempt: int
    outcome: CallOutcome
    error_code: str | None
    seconds: float
    request: Any
    answer_bytes: int
    redacted: Collection[str] = ()


def record(call: Ended) -> None:
    """Store a call and its audit entry, in the caller's transaction of a system job.

    The entry is in the chain of the job's brand. It holds service, operation, outcome and idempotency key, and no
    content: the row has the redacted request.
    """
    shown = _encode(redact(call.request, call.redacted))
    if len(shown) > MAX_REQUEST_BYTES:
        shown = _encode({"truncated": len(shown)})
    stored = [getattr(call, name) for name in _STORED]
    execute_deferred(
        _INSERT, (*stored, new_id(), round(call.seconds * 1000), len(_encode(call.request)), shown.decode())
    )
    trail.record(
        "passport.refused" if call.outcome == "denied" else "passport.called",
        record_key=f"{call.service}.{call.operation}",
        after={"outcome": call.outcome, "key": call.key, "transport": call.transport},
        outcome=_AUDITED[call.outcome],
        reason=call.error_code,
        brand_id=call.brand_id,
    )


def redact(content: Any, members: Collection[str]) -> Any:
    """Return JSON content without the values of these members and of those whose names suggest personal data."""
    if isinstance(content, dict):
        return {
            name: REDACTED if name in members or _is_telling(name) else redact(value, members)
            for name, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [redact(item, members) for item in content]
    return content


def _is_telling(name: str) -> bool:
    return any(TELLING_NAMES.fullmatch(part) for part in name.lower().split("_"))


_FIND = """
    SELECT id, brand_id, service, operation, transport, job_id, attempt, outcome, error_code, duration_ms,
        request_bytes, answer_bytes, request, created_at
    FROM public.passport_calls
    WHERE (%(service)s::text IS NULL OR service = %(service)s)
        AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
        AND (%(brand_id)s::uuid IS NULL OR brand_id = %(brand_id)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, id) < (%(at)s, %(id)s::uuid))
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on calls; None is no condition."""

    service: str | None = None
    outcome: CallOutcome | None = None
    brand_id: UUID | None = None


def find(conditions: Filter, limit: int, after: tuple[datetime, UUID] | None = None) -> list[ServiceCall]:
    """Return up to `limit` calls, newest first, after the call `after` (time and id)."""
    at, id = after or (None, None)
    named = {name: getattr(conditions, name) for name in conditions.__dataclass_fields__}
    return [ServiceCall(**found) for found in rows(_FIND, {**named, "at": at, "id": id, "limit": limit})]


def replay(call_id: UUID) -> UUID:
    """Replay the dead letter of the job that made a call. Return the job's id.

    Raises:
        NotFound: there is no such call, or its job is no dead letter.
        Conflict: another live job has the unique key of the dead letter.
    """
    found = row("SELECT job_id FROM public.passport_calls WHERE id = %s", (call_id,))
    if found is None:
        raise NotFound
    done = dead_letters.replay(dead_letters.Filter(ids=[found["job_id"]]))
    if done.blocked:
        raise Conflict("Another live job has the unique key of this job.")
    return done.ids[0]


def expire() -> None:
    """Delete the calls and the local answers whose retention is over."""
    execute("DELETE FROM public.passport_calls WHERE created_at < now() - %s", (KEEP_CALLS,))
    execute("DELETE FROM app.passport_answers WHERE created_at < now() - %s", (KEEP_ANSWERS,))
