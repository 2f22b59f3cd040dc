"""HTTP counterpart of MediaID, written from docs/services/mediaid.openapi.json and mediaid.md."""

import sqlite3
from datetime import datetime
from typing import Any
from uuid import uuid4

from tests.counterparts.server import Refused, main

SCHEMA = """
create table people (kind text, id text, media_id text, primary key (kind, id));
create table traits (media_id text, name text, value text, observed_at text, primary key (media_id, name));
"""


def identity_of(database: sqlite3.Connection, kind: str, person: str) -> str:
    """Return the identity of a person; create it for an unknown one."""
    database.execute("insert or ignore into people values (?, ?, ?)", (kind, person, str(uuid4())))
    found = database.execute("select media_id from people where kind = ? and id = ?", (kind, person))
    return str(found.fetchone()[0])


def observe(database: sqlite3.Connection, media_id: str, trait: dict[str, str]) -> None:
    """Store a trait, unless a newer observation is known."""
    place = (media_id, trait["name"])
    known = database.execute("select observed_at from traits where media_id = ? and name = ?", place).fetchone()
    if known is None or datetime.fromisoformat(known[0]) <= datetime.fromisoformat(trait["observed_at"]):
        row = (*place, trait["value"], trait["observed_at"])
        database.execute("insert or replace into traits values (?, ?, ?, ?)", row)


def find(database: sqlite3.Connection, request: dict[str, Any]) -> str | None:
    """Return the identity of the request's person; None for an unknown one."""
    found = database.execute("select media_id from people where kind = :kind and id = :person", _person(request))
    return next((row[0] for row in found), None)


def known_traits(database: sqlite3.Connection, media_id: str | None) -> list[dict[str, str]]:
    """Return the traits of an identity by name."""
    found = database.execute(
        "select name, value, observed_at from traits where media_id = ? order by name", (media_id,)
    )
    return [dict(zip(("name", "value", "observed_at"), row, strict=True)) for row in found]


def resolve(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer `resolve`."""
    return {"media_id": identity_of(database, **_person(request))}


def link(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer `link`."""
    kept = identity_of(database, "account", request["account"])
    old = identity_of(database, "anonymous", request["anonymous"])
    if old != kept:
        accounts = "select 1 from people where media_id = ? and kind = 'account'"
        if database.execute(accounts, (old,)).fetchone():
            raise Refused("already_linked")
        # On equal times the account's trait stays, so it is stored last.
        merged = [*known_traits(database, old), *known_traits(database, kept)]
        database.execute("delete from traits where media_id in (?, ?)", (old, kept))
        for trait in merged:
            observe(database, kept, trait)
        database.execute("update people set media_id = ? where media_id = ?", (kept, old))
    return {"media_id": kept}


def traits(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer `traits`."""
    return {"traits": known_traits(database, find(database, request))}


def put_traits(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer `put_traits`."""
    media_id = identity_of(database, **_person(request))
    for trait in request["traits"]:
        observe(database, media_id, trait)
    return {"traits": known_traits(database, media_id)}


def forget(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer `forget`."""
    media_id = find(database, request)
    database.execute("delete from traits where media_id = ?", (media_id,))
    return {"subjects": database.execute("delete from people where media_id = ?", (media_id,)).rowcount}


def _person(request: dict[str, Any]) -> dict[str, str]:
    return {"kind": request["subject"]["kind"], "person": request["subject"]["id"]}


if __name__ == "__main__":
    main({"resolve": resolve, "link": link, "traits": traits, "put_traits": put_traits, "forget": forget}, SCHEMA)
