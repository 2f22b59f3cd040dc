"""Audit trail: record sensitive acts in the transaction of the act, and list and read entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from models.core import context
from models.core.database import execute_deferred, new_id, row, rows
from models.core.enumerations import enumeration
from models.core.errors import NotFound

_RECORD = "SELECT app.record_audit(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"

AuditOutcome = Annotated[
    Literal["ok", "refused", "failed"],
    enumeration(
        "AuditOutcome",
        "Outcome of an act. `ok`: done. `refused`: not permitted, or not possible in the present state; nothing "
        "changed. `failed`: ended by an error; nothing changed.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

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
    outcome: AuditOutcome = "ok",
    reason: str | None = None,
    brand_id: UUID | None = None,
) -> None:
    """Record an act in the caller's transaction, so that the entry commits with the act.

    The context supplies the actor, the request id and the address. The statement is sent with the next one or with
    COMMIT, which saves a round trip.

    Args:
        action: the act, as `subject.verb`; one of `models.audit.actions`.
        table: the table of the record, if the act was on one.
        record_id: the id of the record, if its key is a UUID.
        record_key: the key of the record otherwise.
        before: the changed members of the record before the act.
        after: the changed members after the act. Keyed hashes (`accounts.protect`) in both, and texts named `address`,
            `email`, `phone` or `user_agent`, are stored as personal values, which can be erased.
        shown: the people or records that a list has shown.
        outcome: `ok`, `refused` or `failed`.
        reason: the code of a refusal, or the reason that the person gave.
        brand_id: the tenant of the entry, if the caller is a system admin or a system job.
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
    """Conditions on entries; None is no condition.

    `action` may end in `.*` for all acts on a subject. `record` is the record of the act, or one that a list has
    shown. `field` is a changed member of the record. `until` is exclusive.
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
        """Return the parameters of the query."""
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
    """Entry of the audit trail.

    `seq` is the position in the chain of its tenant; None until the entry is sealed. `erased` names the erased personal
    values: `address`, `user_agent`, `reason`, or a path in `details` such as `before.email`.
    """

    id: UUID
    timestamp: datetime
    action: str
    outcome: AuditOutcome
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
# Searches use indexes of sealed entries. The unsealed entries, those of the last second, have their own index.
_SEALED = _COLUMNS + " WHERE seq IS NOT NULL AND " + _CONDITIONS
_UNSEALED = _COLUMNS + " WHERE seq IS NULL AND " + _CONDITIONS
_PAGE = "(" + _SEALED + ") UNION ALL (" + _UNSEALED + ") ORDER BY timestamp DESC, id DESC LIMIT %(limit)s"


def find(conditions: Filter, limit: int, after: tuple[datetime, UUID] | None = None) -> list[Entry]:
    """Return up to `limit` entries that the caller may read, newest first, after the entry `after` (time and id)."""
    at, id = after or (None, None)
    found = rows(_PAGE, {**conditions.params, "at": at, "id": id, "limit": limit})
    return [_entry(entry) for entry in found]


def get(entry_id: UUID) -> Entry:
    """Return one entry.

    Raises:
        NotFound: there is no entry with this id, or the caller may not read it.
    """
    found = row(_COLUMNS + " WHERE l.id = %s", (entry_id,))
    if found is None:
        raise NotFound
    return _entry(found)


def _entry(found: dict[str, Any]) -> Entry:
    """Return a row as an entry, with its personal values restored in `details`."""
    hashes, contents = found.pop("personal_hashes"), found.pop("contents") or {}
    for path in hashes:
        part, dot, name = path.partition(".")
        if dot and path in contents:
            found["details"][part][name] = contents[path]["value"]
    return Entry(**found, erased=tuple(sorted(hashes.keys() - contents.keys())))
