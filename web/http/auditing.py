"""What of a request goes into the audit trail: its act, written with it, or that it was refused."""

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
"""What refusals of endpoints are recorded as whose acts are not."""

_OTHER_TABLES = {"code_id": "qr_codes", "entry_id": "audit_logs"}


class Details(TypedDict, total=False):
    """What an entry says of the act; `shown` are the people or records that a list has told of."""

    table: str
    record_id: UUID | None
    record_key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    shown: list[UUID]
    reason: str | None
    brand_id: UUID | None


def audited(req: Request, **details: Unpack[Details]) -> None:
    """Say which record a responder acts on, and how; goes into the entry that its `audit=` declares."""
    req.context.audit = {name: detail for name, detail in details.items() if detail is not None}


def revoked_with(**ids: Sequence[UUID | str]) -> dict[str, Any]:
    """Return the part of an entry's `after` that names what an act revoked besides; empty if it revoked nothing."""
    return {f"revoked_{kind}": list(found) for kind, found in ids.items() if found}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, as it was and as it is, by its path (`config.scan_limit.total.count`); null where it wasn't."""
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
    """What the trail is to know of a refusal; None if it is nobody's business."""
    identity: Identity | None = req.context.identity
    claims = refusal.claims or (identity.claims if identity else {})
    target = getattr(req.context, "audit", {})
    table, record_id, record_key = _target(path)
    if not _is_worth_it(declared, req, refusal, bool(claims and record_id)):
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


def _is_worth_it(declared: EndpointSpec, req: Request, refusal: Problem, names_record: bool) -> bool:
    """Whoever is not let in or may not do it; who asks for what is somebody else's; who tries too often.

    What was typed wrong (422), or changed by somebody else meanwhile (412), is not: that happens all day.
    """
    if not refusal.is_audited:
        return False
    is_sensitive = bool(declared.audit or declared.refused_as)
    match refusal.status:
        case 401:
            # A public endpoint that guards nothing keeps nothing of its callers: they may have agreed to nothing yet.
            return is_sensitive if declared.permission in OPEN else req.auth is not None
        case 403:
            return True
        case 404:
            return names_record if refusal.code == NOT_FOUND else is_sensitive
        case 409 | 410 | 429:
            return is_sensitive
    return False


def _target(path: Mapping[str, Any]) -> tuple[str | None, UUID | None, str | None]:
    """The record that a path names: the last one, as its parameter says (`campaign_id`: of `campaigns`)."""
    if not path:
        return None, None, None
    name, value = list(path.items())[-1]
    if isinstance(value, UUID):
        return _OTHER_TABLES.get(name) or f"{name.removesuffix('_id')}s", value, None
    return None, None, str(value)[:200]
