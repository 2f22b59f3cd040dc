"""HTTP counterpart of Coliseum, written from `docs/services/coliseum.openapi.json`."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.counterparts.server import main

SCHEMA = """
create table campaigns (id text primary key, opened_at text);
create table events (id text primary key, campaign text, kind text, occurred_at text, n int);
create table moves (id text primary key, segment text, entered int, gone int);
"""


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def open_campaign(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Register a campaign."""
    opened = (request["campaign"], datetime.now(UTC).isoformat())
    database.execute("insert or ignore into campaigns values (?, ?)", opened)
    kept = database.execute("select opened_at from campaigns where id = ?", (request["campaign"],)).fetchone()
    return {"campaign": request["campaign"], "opened_at": kept[0]}


def ingest(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Count the events that are new."""
    before = database.total_changes
    database.executemany(
        "insert or ignore into events values (?, ?, ?, ?, ?)",
        [
            (
                event["id"],
                event["campaign"],
                event["kind"],
                _instant(event["occurred_at"]).isoformat(),
                -1 if event.get("reverses") else 1,
            )
            for event in request["events"]
        ],
    )
    added = database.total_changes - before
    return {"added": added, "known": len(request["events"]) - added}


def ingest_moves(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Count the moves that are new."""
    before = database.total_changes
    database.executemany(
        "insert or ignore into moves values (?, ?, ?, ?)",
        [(move["id"], move["segment"], move["entered"], move["left"]) for move in request["moves"]],
    )
    added = database.total_changes - before
    return {"added": added, "known": len(request["moves"]) - added}


def segment_totals(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of a segment."""
    sql = "select coalesce(sum(entered), 0), coalesce(sum(gone), 0) from moves where segment = ?"
    entered, left = database.execute(sql, (request["segment"],)).fetchone()
    return {"segment": request["segment"], "entered": entered, "left": left}


def metrics(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Return totals and minutes."""
    since = max(_instant(request["since"]), datetime.now(UTC) - timedelta(hours=24)).isoformat()
    totals = database.execute(
        "select kind, sum(n) from events where campaign = ? group by kind having sum(n) <> 0 order by kind",
        (request["campaign"],),
    )
    minutes = database.execute(
        "select substr(occurred_at, 1, 16) || ':00+00:00', kind, sum(n) from events"
        " where campaign = ? and occurred_at >= ? group by 1, 2 having sum(n) <> 0 order by 1, 2",
        (request["campaign"], since),
    )
    return {
        "campaign": request["campaign"],
        "as_of": datetime.now(UTC).isoformat(),
        "totals": [{"kind": kind, "n": n} for kind, n in totals],
        "minutes": [{"minute": minute, "kind": kind, "n": n} for minute, kind, n in minutes],
    }


if __name__ == "__main__":
    operations = {"ingest_moves": ingest_moves, "segment_totals": segment_totals}
    main({"open": open_campaign, "ingest": ingest, "metrics": metrics} | operations, SCHEMA)
