"""Audit entries of requests: of an act, written in its transaction, or of a refusal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack
from uuid import UUID

from falcon.asgi import Request

from models.audit.refusals import NOT_FOUND, Refused
from models.core.context import Identity
from models.core.errors import Problem
from web.http.dependencies import Dependencies
from web.http.endpoint_spec import OPEN, EndpointSpec

UNNAMED = "request.refuse"
"""Action of recorded refusals of endpoints that declare no audit action."""

_OTHER_TABLES = {
    "call_id": "passport_calls",
    "code_id": "qr_codes",
    "endpoint_id": "webhook_endpoints",
    "entry_id": "audit_logs",
    "export_id": "contact_exports",
    "import_id": "contact_imports",
    "lookup_id": "venue_lookups",
    "merge_id": "contact_merges",
    "note_id": "contact_notes",
    "segment_id": "audience_segments",
}
"""Tables of path parameters whose names differ from the table's."""


class Details(TypedDict, total=False):
    """Details of an audit entry. `shown`: ids of the people or records that a list returned."""

    table: str
    record_id: UUID | None
    record_key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    shown: list[UUID]
    reason: str | None
    brand_id: UUID | None


def audited(req: Request, **details: Unpack[Details]) -> None:
    """Set the details of the audit entry that the endpoint's `audit=` declares."""
    req.context.audit = {name: detail for name, detail in details.items() if detail is not None}


def revoked_with(**ids: Sequence[UUID | str]) -> dict[str, Any]:
    """Return the part of an entry's `after` that names the records that an act revoked as well; may be empty."""
    return {f"revoked_{kind}": list(found) for kind, found in ids.items() if found}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that differ, before and after, by path (`config.scan_limit.total.count`); None if absent."""
    was, now = dict(_paths(before)), dict(_paths(after))
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return {name: was.get(name) for name in changed}, {name: now.get(name) for name in changed}


def _paths(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def record_act(dependencies: Dependencies, req: Request, action: str) -> None:
    """Write the entry of an act, within its transaction."""
    dependencies.record(action, **getattr(req.context, "audit", {}))


def refused(declared: EndpointSpec, req: Request, path: Mapping[str, Any], refusal: Problem) -> Refused | None:
    """Return the audit entry of a refusal; None if it is not recorded."""
    identity: Identity | None = req.context.identity
    claims = refusal.claims or (identity.claims if identity else {})
    target = getattr(req.context, "audit", {})
    table, record_id, record_key = _target(path)
    if not _is_recorded(declared, req, refusal, bool(claims and record_id)):
        return None
    return Refused(
        action=declared.audit or declared.refused_as or UNNAMED,
        reason=refusal.code,
        status=refusal.status,
        operation=f"{req.method} {req.uri_template}",
        claims=claims,
        table=target.get("table", table),
        record_id=target.get("record_id", record_id),
        record_key=target.get("record_key", record_key),
        request=req.context.info,
    )


def _is_recorded(declared: EndpointSpec, req: Request, refusal: Problem, names_record: bool) -> bool:
    """Decide by status whether a refusal is recorded.

    Recorded: failed authentication, missing permission, foreign records, and other refusals (404, 409, 410, 429) of
    sensitive endpoints.
    Not recorded: invalid input (422) and concurrent changes (412), which are ordinary mistakes.
    """
    if not refusal.is_audited:
        return False
    is_sensitive = bool(declared.audit or declared.refused_as)
    match refusal.status:
        case 401:
            # A public endpoint that is not sensitive stores nothing about its callers: they have not consented yet.
            return is_sensitive if declared.permission in OPEN else req.auth is not None
        case 403:
            return True
        case 404:
            return names_record if refusal.code == NOT_FOUND else is_sensitive
        case 409 | 410 | 429:
            return is_sensitive
    return False


def _target(path: Mapping[str, Any]) -> tuple[str | None, UUID | None, str | None]:
    """Return the table and id of the last record in a path. `campaign_id` names a row of `campaigns`."""
    if not path:
        return None, None, None
    name, value = list(path.items())[-1]
    if isinstance(value, UUID):
        return _OTHER_TABLES.get(name) or f"{name.removesuffix('_id')}s", value, None
    return None, None, str(value)[:200]
