"""Refusals in the audit trail: each committed by itself, whoever was refused, known or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models.core.context import RequestInfo, unauthenticated
from models.core.database import new_id, transaction, value

TIMEOUT = 2.0
"""Seconds that writing one may take."""

NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Somebody was refused.

    Attributes:
        action: what they wanted, as `subject.verb`.
        reason: the problem's code.
        status: the answer's.
        operation: the endpoint: method and path template.
        claims: of the token or key that they showed, if we gave it out; its session may have ended.
        table: of the record that they named, with its id or key.
        request: where they asked from.
        count: how many times, where it is more than can be told one by one; the rest tells of the last one.
    """

    action: str
    reason: str
    status: int
    operation: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    table: str | None = None
    record_id: UUID | None = None
    record_key: str | None = None
    request: RequestInfo = field(default_factory=RequestInfo)
    count: int = 1


def record(refused: Refused) -> bool:
    """Write an entry, in a transaction of its own; whether there was anything to write.

    What was not found is worth an entry only if it is there and somebody else's (`out_of_reach`).
    """
    request = refused.request
    details = {"operation": refused.operation, "status": refused.status}
    if refused.count > 1:
        details["count"] = refused.count
    with transaction(unauthenticated(), timeout=TIMEOUT):
        return bool(
            value(
                "SELECT app.record_refusal(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    new_id(),
                    refused.action,
                    refused.reason,
                    dict(refused.claims),
                    refused.table,
                    refused.record_id,
                    refused.record_key,
                    details,
                    {"request_id": request.request_id, "address": request.address, "user_agent": request.user_agent},
                ),
            )
        )
