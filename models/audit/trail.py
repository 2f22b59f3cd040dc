"""The audit trail: who did what to which record, written with the act itself and sealed soon after."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from models.core import context
from models.core.database import execute_deferred, new_id, row, rows
from models.core.errors import NotFound

_RECORD = "SELECT app.record_audit(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"

_encode = msgspec.json.Encoder(enc_hook=str).encode


def record(
    action: str,
    *,
    table: str | None = None,
    record_id: UUID | None = None,
    record_key: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    shown: Sequence[UUID] = (),
    outcome: str = "ok",
    reason: str | None = None,
    brand_id: UUID | None = None,
) -> None:
    """Write an entry in the caller's transaction, so that it commits with the act.

    Who and where from are taken from the context. It goes to the server with the next statement, or with COMMIT, which
    saves a round trip.

    Args:
        action: what was done, as `subject.verb`.
        table: the table of the record, if the act was on one.
        record_id: the record, where its key is a UUID.
        record_key: the record, where it is not.
        before: what of it was changed, as it was.
        after: likewise, as it is now. Personal values of both go to a table of their own and can be erased there:
            keyed hashes (`accounts.protect`), and texts named `address`, `email`, `phone` or `user_agent`.
        shown: the people or records that a list has told of.
        outcome: `ok`, `refused` or `failed`.
        reason: why it was refused, or why the person did it.
        brand_id: whose trail it belongs into, where the caller is a system admin or a system job.
    """
    request = context.request_info()
    details = {name: part for name, part in (("before", before), ("after", after), ("shown", shown)) if part}
    execute_deferred(
        _RECORD,
        (
            new_id(),
            action,
            table,
            record_id,
            record_key,
            _encode(details).decode(),
            outcome,
            reason,
            brand_id,
            request.request_id,
            request.address,
            request.user_agent,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries; None is no condition.

    `action` ends in `.*` for all of a subject; `record` is what was acted on, or shown in a list; `field` is what was
    changed of it; `until` is excluded.
    """

    action: str | None = None
    user_id: UUID | None = None
    session_id: UUID | None = None
    table: str | None = None
    record: str | None = None
    field: str | None = None
    outcome: str | None = None
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None
    brand_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def params(self) -> dict[str, Any]:
        """For the query."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**named, "record_id": _uuid(self.record), "subject": self.action and _subject(self.action)}


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _subject(action: str) -> str | None:
    return action.removesuffix("*") if action.endswith(".*") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the trail.

    `seq` is its place in its tenant's chain, null as long as it has no seal. `erased` names the personal values that
    have been erased: `address`, `user_agent`, `reason`, or a path in `details`, such as `before.email`.
    """

    id: UUID
    timestamp: datetime
    action: str
    outcome: str
    reason: str | None
    brand_id: UUID | None
    user_id: UUID | None
    actor_role: str | None
    session_id: UUID | None
    job_id: UUID | None
    table_name: str | None
    record_id: UUID | None
    record_key: str | None
    details: dict[str, Any]
    request_id: str | None
    address: str | None
    user_agent: str | None
    seq: int | None
    sealed_at: datetime | None
    erased: tuple[str, ...] = ()


_COLUMNS = """
    SELECT l.id, timestamp, action, outcome, coalesce(reason, contents #>> '{reason,value}') AS reason, l.brand_id,
        user_id, actor_role, session_id, job_id, table_name, record_id, record_key, details, request_id,
        contents #>> '{address,value}' AS address, contents #>> '{user_agent,value}' AS user_agent,
        seq, sealed_at, personal_hashes, contents
    FROM public.audit_logs l LEFT JOIN app.audit_personal_values v ON v.id = l.id
"""
_CONDITIONS = """
        (%(action)s::text IS NULL OR action = %(action)s OR starts_with(action, %(subject)s))
        AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
        AND (%(session_id)s::uuid IS NULL OR session_id = %(session_id)s)
        AND (%(table)s::text IS NULL OR table_name = %(table)s)
        AND (%(record)s::text IS NULL OR record_id = %(record_id)s::uuid
            OR %(record_id)s::uuid IS NULL AND record_key = %(record)s
            OR %(record_id)s::uuid IS NOT NULL AND details ? 'shown' AND details -> 'shown' ? %(record_id)s::text)
        AND (%(field)s::text IS NULL OR EXISTS (
            SELECT FROM jsonb_each(details) AS part,
                jsonb_object_keys(CASE jsonb_typeof(part.value) WHEN 'object' THEN part.value ELSE '{}' END) AS name
            WHERE part.key IN ('before', 'after') AND (name = %(field)s OR starts_with(name, %(field)s || '.'))))
        AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
        AND (%(reason)s::text IS NULL OR coalesce(reason, contents #>> '{reason,value}') = %(reason)s)
        AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s)
        AND (%(address)s::text IS NULL OR contents #>> '{address,value}' = %(address)s)
        AND (%(brand_id)s::uuid IS NULL OR l.brand_id = %(brand_id)s)
        AND (%(since)s::timestamptz IS NULL OR timestamp >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR timestamp < %(until)s)
        AND (%(at)s::timestamptz IS NULL OR (timestamp, l.id) < (%(at)s, %(id)s::uuid))
    ORDER BY timestamp DESC, id DESC LIMIT %(limit)s
"""
# Indexes for searching are of what is sealed; what isn't yet are the last second's, which have one of their own.
_SEALED = _COLUMNS + " WHERE seq IS NOT NULL AND " + _CONDITIONS
_UNSEALED = _COLUMNS + " WHERE seq IS NULL AND " + _CONDITIONS
_PAGE = "(" + _SEALED + ") UNION ALL (" + _UNSEALED + ") ORDER BY timestamp DESC, id DESC LIMIT %(limit)s"


def page(which: Filter, limit: int, after: tuple[datetime, UUID] | None = None) -> list[Entry]:
    """Up to `limit` entries that the caller may see, newest first, from `after` (time and id) on."""
    at, id = after or (None, None)
    found = rows(_PAGE, {**which.params, "at": at, "id": id, "limit": limit})
    return [_entry(entry) for entry in found]


def get(entry_id: UUID) -> Entry:
    """One entry.

    Raises:
        NotFound: there is none, or the caller may not see it.
    """
    found = row(_COLUMNS + " WHERE l.id = %s", (entry_id,))
    if found is None:
        raise NotFound
    return _entry(found)


def _entry(found: dict[str, Any]) -> Entry:
    """Make an entry of a row, with its personal values back in their places."""
    hashes, contents = found.pop("personal_hashes"), found.pop("contents") or {}
    for path in hashes:
        part, dot, name = path.partition(".")
        if dot and path in contents:
            found["details"][part][name] = contents[path]["value"]
    return Entry(**found, erased=tuple(sorted(hashes.keys() - contents.keys())))
