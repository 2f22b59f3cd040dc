"""HTTP counterpart of CALS, written from `docs/services/cals.openapi.json`."""

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

from tests.counterparts.server import main

SCHEMA = """
create table contacts (brand text, id text, content text, seq integer, primary key (brand, id));
create table activities (brand text, id text, contact text, primary key (brand, id));
"""


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _version(field: dict[str, Any]) -> tuple[datetime, str, str]:
    return _at(field["at"]), field["source"], json.dumps(field["value"])


def _earlier(one: str | None, other: str | None) -> str | None:
    return min(filter(None, (one, other)), key=_at, default=None)


def _merge(known: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = {}
    for field in (*known["fields"], *sent["fields"]):
        best = fields.get(field["name"])
        if best is None or _version(field) > _version(best):
            fields[field["name"]] = field
    deleted_at = _earlier(known.get("deleted_at"), sent.get("deleted_at"))
    return {
        "contact": sent["contact"],
        "fields": [] if deleted_at else [fields[name] for name in sorted(fields)],
        "opted_out_at": _earlier(known.get("opted_out_at"), sent.get("opted_out_at")),
        "deleted_at": deleted_at,
    }


def push_contacts(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Merge contacts."""
    changed = 0
    for sent in request["contacts"]:
        where = (request["brand"], sent["contact"])
        row = database.execute("select content from contacts where brand = ? and id = ?", where).fetchone()
        known = json.loads(row[0]) if row else {"contact": sent["contact"], "fields": []}
        merged = _merge(known, sent)
        if row is None or merged != known:
            seq = database.execute("select coalesce(max(seq), 0) + 1 from contacts").fetchone()[0]
            database.execute("replace into contacts values (?, ?, ?, ?)", (*where, json.dumps(merged), seq))
            changed += 1
    return {"changed": changed}


def pull_contacts(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Return changed contacts."""
    limit, after = request.get("limit", 200), int(request.get("cursor") or 0)
    found = database.execute(
        "select seq, content from contacts where brand = ? and seq > ? order by seq limit ?",
        (request["brand"], after, limit + 1),
    ).fetchall()
    page = found[:limit]
    cursor = str(page[-1][0]) if page else request.get("cursor")
    return {"contacts": [json.loads(content) for _, content in page], "cursor": cursor, "more": len(found) > limit}


def push_activities(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Store activities."""
    before = database.total_changes
    database.executemany(
        "insert or ignore into activities values (?, ?, ?)",
        [(request["brand"], one["id"], one["contact"]) for one in request["activities"]],
    )
    added = database.total_changes - before
    return {"added": added, "known": len(request["activities"]) - added}


if __name__ == "__main__":
    main({"push_contacts": push_contacts, "pull_contacts": pull_contacts, "push_activities": push_activities}, SCHEMA)
