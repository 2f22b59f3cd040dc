"""Record refused requests in the audit trail, each in its own transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from models.core.context import RequestInfo, unauthenticated
from models.core.database import new_id, transaction, value

TIMEOUT = 2.0
"""Seconds that the transaction of one entry may take."""

NOT_FOUND = "not_found"
"""Reason of the refusal of a request for a record that does not exist or is out of reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Refused request.

    Attributes:
        action: the refused act, as `subject.verb`.
        reason: the code of the problem.
        status: the HTTP status of the answer.
        operation: the endpoint: method and path template.
        claims: claims of the presented token or key, if it is one of ours; its session may have ended.
        table: the table of the record that the request names.
        record_id: the id of that record, if its key is a UUID.
        record_key: the key of that record otherwise.
        request: the id, address and user agent of the request.
        count: the number of refusals if they are too many for one entry each; the other attributes describe the last.
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
    """Record a refusal in its own transaction. Return whether an entry was written.

    A 404 is recorded only if the record exists and belongs to another person (`out_of_reach`).
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
