"""The audit trail: who did what to which record, written with the act itself and sealed soon after."""

import json
from typing import Any
from uuid import UUID

from models import context
from models.db import after_commit, execute, new_id
from models.jobs import ring

_RECORD = "SELECT app.record_audit(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


def record(
    action: str,
    *,
    table: str | None = None,
    record_id: UUID | None = None,
    record_key: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    outcome: str = "ok",
    reason: str | None = None,
    brand_id: UUID | None = None,
) -> None:
    """Write an entry in the caller's transaction: it is there if, and only if, the act is.

    Who and where from are taken from the context.

    Args:
        action: what was done, as `subject.verb`.
        table: the table of the record, if the act was on one.
        record_id: the record, where its key is a UUID.
        record_key: the record, where it is not.
        before: what of it was changed, as it was.
        after: likewise, as it is now.
        outcome: `ok`, `refused` or `failed`.
        reason: why it was refused, or why the person did it.
        brand_id: whose trail it belongs into, where the caller is a system admin or a system job.
    """
    request = context.request_info()
    details = {name: part for name, part in (("before", before), ("after", after)) if part}
    execute(
        _RECORD,
        (
            new_id(),
            action,
            table,
            record_id,
            record_key,
            json.dumps(details, default=str),
            outcome,
            reason,
            brand_id,
            request.request_id,
            request.address,
            request.user_agent,
            request.correlation_id,
            new_id(),
        ),
    )
    after_commit(ring)
