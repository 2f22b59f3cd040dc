"""Audit trail: search and export the entries of your brand. Reading it is recorded in it.

Every change and every refused request has an entry: who, what, when, from where, and the values before and after.
Entries are linked by hash and can't be changed; `docs/audit.md` says how to verify an export offline.
"""

import csv
import io
import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audit import trail
from models.audit.actions import AuditAction
from models.audit.trail import AuditOutcome
from models.core.context import Identity
from models.core.database import now
from models.core.errors import NotFound
from models.core.messages import REASON, Message
from web.http.datetimes import Instant, period_in_utc
from web.http.dependencies import Dependencies
from web.http.endpoint import Page, audited, decode_cursor, endpoint, page_of
from web.http.fields import Id, RequestId
from web.http.pagination import Cursor, Limit
from web.http.thread_pool import run_when_free

EXPORT_PAGE = 500
"""Entries of an export that are in memory at a time."""

_PERIOD = {"since": "from", "until": "to", "actor_id": "actor"}
_BYTE_ORDER_MARK = "\ufeff"  # Without it, spreadsheets on Windows read UTF-8 as a code page.
_FORMULA_STARTS = "=+-@"
_BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without a visible shape

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        extra={REASON: Message("must be one line without control characters")},
    ),
]


class AuditFilter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename=_PERIOD):
    """Conditions on entries; all must hold."""

    action: Annotated[
        Annotated[
            str,
            Meta(
                max_length=100,
                pattern=r"^[a-z0-9_-]+\.([a-z0-9_.-]+|\*)$(?!\n)",
                examples=["campaign.update", "campaign.*"],
                extra={REASON: Message("must be an action, such as campaign.update, or all of a subject: campaign.*")},
            ),
        ]
        | None,
        Meta(description="Only this act, or with `*` as the verb all acts on a subject. Default: all acts."),
    ] = None
    actor_id: Annotated[
        UUID | None, Meta(description="Only acts of the person or API key with this id. Default: of all.")
    ] = None
    session_id: Annotated[UUID | None, Meta(description="Only acts of the session with this id. Default: of all.")] = (
        None
    )
    table: Annotated[
        Name | None, Meta(description="Only acts on records of this table. Default: of all.", examples=["campaigns"])
    ] = None
    record: Annotated[
        Name | None,
        Meta(
            description="Only acts on the record with this id or key, and lists that have shown it. Default: all.",
            examples=["01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"],
        ),
    ] = None
    field: Annotated[
        Name | None,
        Meta(
            description="Only acts that changed this member of the record; `config.scan_limit` includes its members. "
            "Default: all.",
            examples=["config.scan_limit"],
        ),
    ] = None
    outcome: Annotated[
        AuditOutcome | None, Meta(description="Only acts with this outcome. Default: all.", examples=["refused"])
    ] = None
    reason: Annotated[
        Name | None,
        Meta(
            description="Only refusals with this error code, or acts for which a person gave exactly this reason. "
            "Default: all.",
            examples=["forbidden"],
        ),
    ] = None
    request_id: Annotated[
        RequestId | None,
        Meta(
            description="Only acts of the request with this `X-Request-Id`. Default: all.",
            examples=["0f6b2c1d4e5a4f7b9c8d7e6f5a4b3c2d"],
        ),
    ] = None
    address: Annotated[
        Name | None,
        Meta(description="Only acts from this IP address of a client. Default: all.", examples=["203.0.113.7"]),
    ] = None
    brand_id: Annotated[
        UUID | None,
        Meta(
            description="Only entries of the brand with this id. Members see their own brand in any case. Default: all "
            "entries that the caller may read."
        ),
    ] = None
    since: Annotated[
        Instant | None,
        Meta(description="Only entries at or after this time. Default: no bound.", examples=["2026-11-01T00:00:00Z"]),
    ] = None
    until: Annotated[
        Instant | None,
        Meta(description="Only entries before this time. Default: no bound.", examples=["2026-12-01T00:00:00Z"]),
    ] = None

    @property
    def filter(self) -> trail.Filter:
        """Return the conditions of the data layer."""
        since, until = period_in_utc(self.since, self.until)
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
            since=since,
            until=until,
        )


class AuditQuery(AuditFilter, kw_only=True, rename=_PERIOD):
    """Conditions on entries, and the page of the result."""

    limit: Limit = 25
    cursor: Cursor | None = None


class AuditActorOut(msgspec.Struct):
    """Person, API key or job that acted."""

    user_id: Annotated[
        UUID | None,
        Meta(description="Id of the person or, with the role `API Key`, of the key; null for others."),
    ]
    role: Annotated[
        str | None,
        Meta(
            description="Role of the person at the time of the act, or `API Key`; the database role (`app_…`) of a "
            "job or of a caller without a session; null if unknown.",
            examples=["Campaign Manager"],
        ),
    ]
    session_id: Annotated[UUID | None, Meta(description="Id of the person's session; null without one.")]
    job_id: Annotated[UUID | None, Meta(description="Id of the job that acted; null unless a job acted.")]


class AuditTargetOut(msgspec.Struct):
    """Record of the act. All members are null for an act without a record."""

    table: Annotated[
        str | None,
        Meta(description="Name of the record's table; null for an act without a record.", examples=["campaigns"]),
    ]
    record_id: Annotated[
        UUID | None, Meta(description="Id of the record; null for a record that is identified by a key.")
    ]
    record_key: Annotated[
        str | None,
        Meta(description="Key of a record that has no UUID, such as the name of an actor.", examples=["scan.score"]),
    ]


class EntryOut(msgspec.Struct, kw_only=True):
    """Entry of the audit trail. It never changes, except that personal values can be erased from it."""

    id: Id
    at: Annotated[Instant, Meta(description="Time of the act, in UTC.")]
    action: Annotated[AuditAction, Meta(description="Act that the entry records.", examples=["campaign.update"])]
    actor: Annotated[AuditActorOut, Meta(description="Person, API key or job that acted.")]
    target: Annotated[AuditTargetOut, Meta(description="Record that the act read or changed.")]
    outcome: Annotated[
        AuditOutcome,
        Meta(description="Whether the act was done.", examples=["ok"]),
    ]
    reason: Annotated[
        str | None,
        Meta(
            description="Error code of a refusal (`out_of_reach` for a record of another brand), or the reason that "
            "a person gave for the act; null without one.",
            examples=["forbidden"],
        ),
    ]
    details: Annotated[
        dict[str, Any],
        Meta(
            description="`before` and `after`: the changed members of the record by path, personal values as keyed "
            "hashes. `shown`: ids of the people or records in a list. For a refusal, `operation` and `status` "
            "describe the request, and `count` is the number of refusals that the entry combines.",
            examples=[{"before": {"name": "Plaza"}, "after": {"name": "Plaza Mayor"}}],
        ),
    ]
    brand_id: Annotated[
        UUID | None, Meta(description="Id of the brand whose trail has the entry; null: the platform's.")
    ]
    request_id: Annotated[
        str | None,
        Meta(
            description="`X-Request-Id` of the request, also of the request that caused a job; null without one.",
            examples=["0f6b2c1d4e5a4f7b9c8d7e6f5a4b3c2d"],
        ),
    ]
    address: Annotated[
        str | None,
        Meta(description="IP address of the client; null without a client or once erased.", examples=["203.0.113.7"]),
    ]
    user_agent: Annotated[
        str | None,
        Meta(
            description="`User-Agent` of the client; null without a client or once erased.",
            examples=["Mozilla/5.0 (X11; Linux x86_64)"],
        ),
    ]
    seq: Annotated[
        int | None,
        Meta(
            description="Position in the audit chain of the brand or of the platform, from 1; null for about a "
            "second, until the entry is sealed.",
            examples=[4711],
        ),
    ]
    sealed_at: Annotated[
        Instant | None, Meta(description="Time at which the entry was added to the chain, in UTC; null until then.")
    ]
    erased: Annotated[
        list[str],
        Meta(
            description="Personal values that have been erased, and are null here: `address`, `user_agent`, "
            "`reason`, or a path in `details`.",
            examples=[["address", "before.email"]],
        ),
    ]

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
            request_id=entry.request_id or None,
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
        """Search the audit trail, the newest entries first.

        A Brand Admin reads the trail of the brand, a System Admin all trails. The search itself is recorded, with its
        conditions.
        """
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
        """Read an entry of the audit trail. The reading is recorded in it, too."""
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
        """Export the audit trail as CSV for a spreadsheet, the newest entries first.

        The text is UTF-8 with a byte order mark; the first line names the columns. A `'` is put before a cell that a
        spreadsheet would run as a formula. The export ends at the time of the request, and with the caller's session.
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
        """Export the audit trail as JSON for programs, the newest entries first.

        The export ends at the time of the request, and with the caller's session. An incomplete export is not valid
        JSON.
        """
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
