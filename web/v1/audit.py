"""The audit trail: who did what to which record. Whoever reads it is in it."""

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
from web.http.dependencies import Kit
from web.http.endpoint import Page, after, audited, endpoint, page_of
from web.http.pagination import Cursor, Limit
from web.http.thread_pool import patiently

EXPORT_PAGE = 500
"""Entries that an export holds in memory at a time."""

_PERIOD = {"since": "from", "until": "to", "actor_id": "actor"}
_BYTE_ORDER_MARK = "\ufeff"  # Without it, spreadsheets on Windows read UTF-8 as a code page.
_FORMULA_SIGNS = "=+-@"
_BLANK_SIGNS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without a visible shape

Action = Annotated[
    str,
    msgspec.Meta(
        max_length=100,
        pattern=r"^[a-z0-9_-]+\.([a-z0-9_.-]+|\*)$(?!\n)",
        description="`campaign.update`, or `campaign.*` for all of a subject.",
    ),
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
RECORD = "The record's id or key: what was acted on, or shown in a list."
FIELD = "What was changed of the record: `name`, or `config.scan_limit` for all that is below."
RequestId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)", description="An `X-Request-Id`.")]


class AuditFilter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename=_PERIOD):
    """Which entries: `from` ≤ when it was done < `to`."""

    action: Action | None = None
    actor_id: Annotated[UUID, msgspec.Meta(description="The person, or the API key, that did it.")] | None = None
    session_id: UUID | None = None
    table: Annotated[Name, msgspec.Meta(description="The table of the record, e.g. `campaigns`.")] | None = None
    record: Annotated[Name, msgspec.Meta(description=RECORD)] | None = None
    field: Annotated[Name, msgspec.Meta(description=FIELD)] | None = None
    outcome: Annotated[Literal["ok", "refused", "failed"], msgspec.Meta(description="How it ended.")] | None = None
    reason: Annotated[Name, msgspec.Meta(description="Why it was refused, e.g. `out_of_reach`.")] | None = None
    request_id: RequestId | None = None
    address: Annotated[Name, msgspec.Meta(description="Where it came from.")] | None = None
    brand_id: UUID | None = None
    since: Instant | None = None
    until: Instant | None = None

    @property
    def filter(self) -> trail.Filter:
        """As the rules take it."""
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
    """Which entries, and which page of them."""

    limit: Limit = 25
    cursor: Cursor | None = None


class DoneByOut(msgspec.Struct):
    """Who did it; `job_id` where a job did."""

    user_id: UUID | None
    role: str | None
    session_id: UUID | None
    job_id: UUID | None


class TargetOut(msgspec.Struct):
    """What it was done to."""

    table: str | None
    record_id: UUID | None
    record_key: str | None


class EntryOut(msgspec.Struct, kw_only=True):
    """An entry. `details` has `before` and `after` of what was changed, personal values as keyed hashes.

    `erased` names personal values that have been erased and are null here: `address`, `user_agent`, `reason`, or a
    path in `details`, such as `before.email`.

    For a list, `shown` has the ids of the people or records in it. For a refusal, `operation` and `status` are those of
    the request, and `count` is the number of refusals that the entry combines.

    `seq` is its place in its brand's chain; it has one within a second.
    """

    id: UUID
    at: Instant
    action: str
    actor: DoneByOut
    target: TargetOut
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
        """An entry as those see it who may."""
        return cls(
            id=entry.id,
            at=entry.timestamp,
            action=entry.action,
            actor=DoneByOut(entry.user_id, entry.actor_role, entry.session_id, entry.job_id),
            target=TargetOut(entry.table_name, entry.record_id, entry.record_key),
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
    """`/api/v1/audit-logs`: a brand's audit trail; a system admin's is everybody's."""

    @endpoint(query=AuditQuery, response=Page[EntryOut], permission="audit:read", audit="audit.read")
    def on_get(self, req: Request, resp: Response) -> None:
        """Search the audit trail, the newest entries first."""
        asked: AuditQuery = req.context.query
        scope = f"audit-logs:{asked.filter}"
        found = trail.find(asked.filter, asked.limit + 1, after(asked.cursor, tuple[datetime, UUID], scope=scope))
        _say_what_was_read(req, asked)
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
    """`/api/v1/audit-logs/export.csv`: the trail for a spreadsheet."""

    @endpoint(
        query=AuditFilter,
        permission="audit:read",
        audit="audit.export",
        recent=True,
        media="text/csv",
    )
    def on_get(self, req: Request, resp: Response) -> None:
        """Export the audit trail as CSV (UTF-8 with a byte order mark), the newest entries first.

        A cell that a spreadsheet would run as a formula begins with a `'`.
        """
        _export(req, resp, _csv_head(), _csv, "")
        resp.content_type = "text/csv; charset=utf-8"
        resp.downloadable_as = "audit-logs.csv"


class AuditJson:
    """`/api/v1/audit-logs/export.json`: the trail for programs."""

    @endpoint(
        query=AuditFilter,
        response=list[EntryOut],
        permission="audit:read",
        audit="audit.export",
        recent=True,
    )
    def on_get(self, req: Request, resp: Response) -> None:
        """Export the audit trail as JSON, the newest entries first. An export that was cut short is no JSON."""
        _export(req, resp, "[", _json, "\n]\n")
        resp.content_type = "application/json"
        resp.downloadable_as = "audit-logs.json"


Render = Callable[[Sequence[trail.Entry], bool], str]
"""Some entries as text; whether they are the first ones."""


def _export(req: Request, resp: Response, head: str, render: Render, foot: str) -> None:
    asked: AuditFilter = req.context.query
    _say_what_was_read(req, asked)
    which, at = asked.filter, now()
    # What is written from now on, the entry of this export for one, doesn't prolong it.
    which = replace(which, until=min(which.until or at, at))
    resp.stream = _texts(req.context.kit, req.context.identity, which, (head, render, foot))


async def _texts(
    kit: Kit, identity: Identity, which: trail.Filter, form: tuple[str, Render, str]
) -> AsyncIterator[bytes]:
    """An export, page by page, each read in a transaction of its own: a session that ends, ends it."""
    head, render, foot = form
    yield head.encode()
    place: tuple[datetime, UUID] | None = None
    while True:
        found: list[trail.Entry] = await patiently(kit.pool, _read, kit, identity, which, place)
        if found:
            yield render(found, place is None).encode()
            place = (found[-1].timestamp, found[-1].id)
        if len(found) < EXPORT_PAGE:
            break
    yield foot.encode()


def _read(kit: Kit, identity: Identity, which: trail.Filter, place: tuple[datetime, UUID] | None) -> list[trail.Entry]:
    with kit.transaction(identity, timeout=30.0):
        return trail.find(which, EXPORT_PAGE, place)


def _say_what_was_read(req: Request, asked: AuditFilter) -> None:
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
    """A value as a spreadsheet may show it: what begins like a formula, which it would run, begins with a quote."""
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
    """Return whether a spreadsheet may run this text: its first visible sign, full-width or not, begins a formula."""
    first = next((sign for sign in text if not _is_invisible(sign)), "")
    return text[:1] in ("\t", "\r", "\n") or unicodedata.normalize("NFKC", first).startswith(tuple(_FORMULA_SIGNS))


def _is_invisible(sign: str) -> bool:
    """Return whether this is a blank, a control or format character, or a combining mark."""
    return unicodedata.category(sign)[0] in "ZCM" or sign in _BLANK_SIGNS


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/audit-logs", AuditLogs()),
    ("/api/v1/audit-logs/export.csv", AuditCsv()),
    ("/api/v1/audit-logs/export.json", AuditJson()),
    ("/api/v1/audit-logs/{entry_id:uuid}", AuditLog()),
]
