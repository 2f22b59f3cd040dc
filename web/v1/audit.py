"""`/api/v1/audit-logs`: search and export the audit trail. Reading it is recorded in it."""

import csv
import io
import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.audit import trail
from models.core.context import Identity
from models.core.database import now
from models.core.errors import NotFound
from web.http.datetimes import Instant, in_utc
from web.http.dependencies import Dependencies
from web.http.endpoint import Page, audited, decode_cursor, endpoint, page_of
from web.http.pagination import Cursor, Limit
from web.http.thread_pool import run_when_free

EXPORT_PAGE = 500
"""Entries of an export that are in memory at a time."""

_PERIOD = {"since": "from", "until": "to", "actor_id": "actor"}
_BYTE_ORDER_MARK = "\ufeff"  # Without it, spreadsheets on Windows read UTF-8 as a code page.
_FORMULA_STARTS = "=+-@"
_BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without a visible shape

Action = Annotated[
    str,
    msgspec.Meta(
        max_length=100,
        pattern=r"^[a-z0-9_-]+\.([a-z0-9_.-]+|\*)$(?!\n)",
        description="`campaign.update`, or `campaign.*` for all acts on a subject.",
    ),
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
RECORD = "Id or key of the record: of the act, or shown in a list."
FIELD = "Changed member of the record: `name`, or `config.scan_limit` with all its members."
RequestId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)", description="An `X-Request-Id`.")]


class AuditFilter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename=_PERIOD):
    """Conditions on entries. `from` is inclusive, `to` exclusive."""

    action: Action | None = None
    actor_id: Annotated[UUID, msgspec.Meta(description="Person or API key that acted.")] | None = None
    session_id: UUID | None = None
    table: Annotated[Name, msgspec.Meta(description="Table of the record, for example `campaigns`.")] | None = None
    record: Annotated[Name, msgspec.Meta(description=RECORD)] | None = None
    field: Annotated[Name, msgspec.Meta(description=FIELD)] | None = None
    outcome: Annotated[Literal["ok", "refused", "failed"], msgspec.Meta(description="Outcome of the act.")] | None = (
        None
    )
    reason: (
        Annotated[
            Name,
            msgspec.Meta(description="Code of the refusal, e.g. `out_of_reach`, or a person's reason."),
        ]
        | None
    ) = None
    request_id: RequestId | None = None
    address: Annotated[Name, msgspec.Meta(description="Address of the client.")] | None = None
    brand_id: UUID | None = None
    since: Instant | None = None
    until: Instant | None = None

    @property
    def filter(self) -> trail.Filter:
        """Return the conditions of the data layer."""
        return trail.Filter(
            action=self.action,
            user_id=self.actor_id,
            session_id=self.session_id,
            table=self.table,
            record=self.record,
            field=self.field,
            outcome=self.outcome,
            reason=self.reason,
            request_id=self.request_id,
            address=self.address,
            brand_id=self.brand_id,
            since=in_utc("from", self.since),
            until=in_utc("to", self.until),
        )


class AuditQuery(AuditFilter, kw_only=True, rename=_PERIOD):
    """Conditions on entries, and the page of the result."""

    limit: Limit = 25
    cursor: Cursor | None = None


class AuditActorOut(msgspec.Struct):
    """Person, API key or job that acted. `job_id` is null unless a job acted."""

    user_id: UUID | None
    role: str | None
    session_id: UUID | None
    job_id: UUID | None


class AuditTargetOut(msgspec.Struct):
    """Record of the act."""

    table: str | None
    record_id: UUID | None
    record_key: str | None


class EntryOut(msgspec.Struct, kw_only=True):
    """Entry of the audit trail.

    `details` has `before` and `after` with the changed members of the record, personal values as keyed hashes. For a
    list, `shown` has the ids of the people or records in it. For a refusal, `operation` and `status` describe the
    request, and `count` is the number of refusals that the entry combines.

    `erased` names personal values that have been erased and are null here: `address`, `user_agent`, `reason`, or a path
    in `details`, such as `before.email`.

    `seq` is the position in the chain of the brand. It is set within a second.
    """

    id: UUID
    at: Instant
    action: str
    actor: AuditActorOut
    target: AuditTargetOut
    outcome: str
    reason: str | None
    details: dict[str, Any]
    brand_id: UUID | None
    request_id: str | None
    address: str | None
    user_agent: str | None
    seq: int | None
    sealed_at: Instant | None
    erased: list[str]

    @classmethod
    def of(cls, entry: trail.Entry) -> "EntryOut":
        """Return the entry as the API shows it."""
        return cls(
            id=entry.id,
            at=entry.timestamp,
            action=entry.action,
            actor=AuditActorOut(entry.user_id, entry.actor_role, entry.session_id, entry.job_id),
            target=AuditTargetOut(entry.table_name, entry.record_id, entry.record_key),
            outcome=entry.outcome,
            reason=entry.reason,
            details=entry.details,
            brand_id=entry.brand_id,
            request_id=entry.request_id,
            address=entry.address,
            user_agent=entry.user_agent,
            seq=entry.seq,
            sealed_at=entry.sealed_at,
            erased=list(entry.erased),
        )


class AuditLogs:
    """`/api/v1/audit-logs`: the audit trail of a brand, or of all brands for a system admin."""

    @endpoint(query=AuditQuery, response=Page[EntryOut], permission="audit:read", audit="audit.read")
    def on_get(self, req: Request, resp: Response) -> None:
        """Search the audit trail, the newest entries first."""
        asked: AuditQuery = req.context.query
        scope = f"audit-logs:{asked.filter}"
        found = trail.find(
            asked.filter, asked.limit + 1, decode_cursor(asked.cursor, tuple[datetime, UUID], scope=scope)
        )
        _record_conditions(req, asked)
        items = [EntryOut.of(entry) for entry in found]
        resp.media = page_of(items, asked.limit, lambda entry: (entry.at, entry.id), scope=scope)


class AuditLog:
    """`/api/v1/audit-logs/{entry_id}`: one entry."""

    @endpoint(response=EntryOut, permission="audit:read", audit="audit.read", problems=(NotFound,))
    def on_get(self, req: Request, resp: Response, entry_id: UUID) -> None:
        """Read an entry of the audit trail."""
        audited(req, table="audit_logs", record_id=entry_id)
        resp.media = EntryOut.of(trail.get(entry_id))


class AuditCsv:
    """`/api/v1/audit-logs/export.csv`: the audit trail for a spreadsheet."""

    @endpoint(
        operation_id="exportAuditLogsAsCsv",
        query=AuditFilter,
        permission="audit:read",
        audit="audit.export",
        recent=True,
        media="text/csv",
    )
    def on_get(self, req: Request, resp: Response) -> None:
        """Export the audit trail as CSV (UTF-8 with a byte order mark), the newest entries first.

        A `'` is put before a cell that a spreadsheet would run as a formula.
        """
        _export(req, resp, _csv_head(), _csv, "")
        resp.content_type = "text/csv; charset=utf-8"
        resp.downloadable_as = "audit-logs.csv"


class AuditJson:
    """`/api/v1/audit-logs/export.json`: the audit trail for programs."""

    @endpoint(
        operation_id="exportAuditLogsAsJson",
        query=AuditFilter,
        response=list[EntryOut],
        permission="audit:read",
        audit="audit.export",
        recent=True,
    )
    def on_get(self, req: Request, resp: Response) -> None:
        """Export the audit trail as JSON, the newest entries first. An incomplete export is not valid JSON."""
        _export(req, resp, "[", _json, "\n]\n")
        resp.content_type = "application/json"
        resp.downloadable_as = "audit-logs.json"


Render = Callable[[Sequence[trail.Entry], bool], str]
"""Function that returns entries as text; its second argument is whether they are the first ones."""


def _export(req: Request, resp: Response, head: str, render: Render, foot: str) -> None:
    asked: AuditFilter = req.context.query
    _record_conditions(req, asked)
    conditions, at = asked.filter, now()
    # Leave out entries from now on. Otherwise the entry of this export would be part of it.
    conditions = replace(conditions, until=min(conditions.until or at, at))
    resp.stream = _texts(req.context.dependencies, req.context.identity, conditions, (head, render, foot))


async def _texts(
    dependencies: Dependencies, identity: Identity, conditions: trail.Filter, form: tuple[str, Render, str]
) -> AsyncIterator[bytes]:
    """Yield an export page by page. Each page has its own transaction, so the end of the session ends the export."""
    head, render, foot = form
    yield head.encode()
    position: tuple[datetime, UUID] | None = None
    while True:
        found: list[trail.Entry] = await run_when_free(
            dependencies.pool, _read, dependencies, identity, conditions, position
        )
        if found:
            yield render(found, position is None).encode()
            position = (found[-1].timestamp, found[-1].id)
        if len(found) < EXPORT_PAGE:
            break
    yield foot.encode()


def _read(
    dependencies: Dependencies, identity: Identity, conditions: trail.Filter, position: tuple[datetime, UUID] | None
) -> list[trail.Entry]:
    with dependencies.transaction(identity, timeout=30.0):
        return trail.find(conditions, EXPORT_PAGE, position)


def _record_conditions(req: Request, asked: AuditFilter) -> None:
    conditions = {name: part for name, part in msgspec.to_builtins(asked).items() if part is not None}
    audited(req, table="audit_logs", after=conditions, brand_id=asked.brand_id)


def _json(entries: Sequence[trail.Entry], first: bool) -> str:
    texts = [msgspec.json.encode(EntryOut.of(entry)).decode() for entry in entries]
    return ("\n" if first else ",\n") + ",\n".join(texts)


_CSV = tuple(trail.Entry.__dataclass_fields__)


def _csv_head() -> str:
    return _BYTE_ORDER_MARK + _lines([_CSV])


def _csv(entries: Sequence[trail.Entry], _first: bool) -> str:
    return _lines([[_cell(getattr(entry, name)) for name in _CSV] for entry in entries])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """Return a value as the text of a cell, with a `'` before a text that a spreadsheet would run as a formula."""
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case dict():
            return json.dumps(value, ensure_ascii=False, sort_keys=True)
        case int():
            return str(value)
        case tuple():
            return " ".join(value)
    text = str(value)
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Return whether a spreadsheet may run this text: its first visible character begins a formula."""
    first = next((character for character in text if not _is_invisible(character)), "")
    return text[:1] in ("\t", "\r", "\n") or unicodedata.normalize("NFKC", first).startswith(tuple(_FORMULA_STARTS))


def _is_invisible(character: str) -> bool:
    """Return whether this is a blank, a control or format character, or a combining mark."""
    return unicodedata.category(character)[0] in "ZCM" or character in _BLANK_CHARACTERS


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/audit-logs", AuditLogs()),
    ("/api/v1/audit-logs/export.csv", AuditCsv()),
    ("/api/v1/audit-logs/export.json", AuditJson()),
    ("/api/v1/audit-logs/{entry_id:uuid}", AuditLog()),
]
