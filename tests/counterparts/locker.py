"""HTTP counterpart of Locker, written from `docs/services/locker.md` and its OpenAPI document alone."""

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from tests.counterparts.server import Refused, main

SCHEMA = """
create table campaigns (id text primary key, version integer);
create table rewards (campaign text, key text, name text, rank integer, quantity integer, per_user integer,
    primary key (campaign, key));
create table reservations (campaign text, id text, reward text, subject text, state text, until real, claimed integer,
    primary key (campaign, id));
"""
NOT_FOUND = 404
HELD = "state <> 'released'"


def _row(database: sqlite3.Connection, sql: str, *params: Any) -> dict[str, Any] | None:
    cursor = database.execute(sql, params)
    found = cursor.fetchone()
    return found and dict(zip([column[0] for column in cursor.description], found, strict=True))


def _enter(database: sqlite3.Connection, campaign: str) -> None:
    """Require a known campaign, and end its expired reservations."""
    if _row(database, "select 1 from campaigns where id = ?", campaign) is None:
        raise Refused("unknown_campaign", status=NOT_FOUND)
    database.execute(
        "update reservations set state = 'released', until = null where campaign = ? and until <= ?",
        (campaign, time.time()),
    )


def _shown(database: sqlite3.Connection, campaign: str, reservation: str) -> dict[str, Any]:
    sql = """select h.id, h.reward, r.name, h.state, h.until from reservations h
        join rewards r on r.campaign = h.campaign and r.key = h.reward where h.campaign = ? and h.id = ?"""
    found = _row(database, sql, campaign, reservation)
    assert found is not None
    until = found["until"] and datetime.fromtimestamp(found["until"], UTC).isoformat()
    return {name: found[name] for name in ("reward", "name", "state")} | {
        "reservation": found["id"],
        "expires_at": until,
    }


def _units(database: sqlite3.Connection, campaign: str, reward: str, subject: str | None = None) -> int:
    sql = f"select count(*) as n from reservations where campaign = ? and reward = ? and {HELD}"
    if subject is None:
        return (_row(database, sql, campaign, reward) or {})["n"]
    return (_row(database, f"{sql} and subject = ?", campaign, reward, subject) or {})["n"]


def open_inventory(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Store a newer inventory."""
    campaign = request["campaign"]
    known = _row(database, "select version from campaigns where id = ?", campaign)
    database.execute("insert into campaigns values (?, 0) on conflict do nothing", (campaign,))
    _enter(database, campaign)
    if known is None or known["version"] < request["version"]:
        wanted = {one["key"]: one for one in request["rewards"]}
        for (key,) in database.execute("select key from rewards where campaign = ?", (campaign,)).fetchall():
            if _units(database, campaign, key) > wanted.get(key, {"quantity": 0})["quantity"]:
                raise Refused("below_given")
        database.execute("update campaigns set version = ? where id = ?", (request["version"], campaign))
        database.execute("update rewards set quantity = 0 where campaign = ?", (campaign,))
        for rank, one in enumerate(request["rewards"]):
            database.execute(
                "insert or replace into rewards values (?, ?, ?, ?, ?, ?)",
                (campaign, one["key"], one["name"], rank, one["quantity"], one.get("per_user", 1)),
            )
    return stock(database, request)


def reserve(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Reserve a unit."""
    campaign, reservation, subject = (request[name] for name in ("campaign", "reservation", "subject"))
    _enter(database, campaign)
    sql = f"select 1 from reservations where campaign = ? and id = ? and {HELD}"
    if _row(database, sql, campaign, reservation) is None:
        reward = _choose(database, campaign, subject, request.get("reward"))
        until = time.time() + request["hold_s"]
        row = (campaign, reservation, reward, subject, "reserved", until, 0)
        database.execute("insert or replace into reservations values (?, ?, ?, ?, ?, ?, ?)", row)
    return _shown(database, campaign, reservation)


def _choose(database: sqlite3.Connection, campaign: str, subject: str, reward: str | None) -> str:
    sql = "select key, quantity, per_user from rewards where campaign = ? and quantity > 0 order by rank"
    asked = [one for one in database.execute(sql, (campaign,)) if reward in (None, one[0])]
    if not asked:
        raise Refused("unknown_reward", status=NOT_FOUND)
    allowed = [one for one in asked if _units(database, campaign, one[0], subject) < one[2]]
    if not allowed:
        raise Refused("per_user_limit")
    for key, quantity, _ in allowed:
        if _units(database, campaign, key) < quantity:
            return str(key)
    raise Refused("sold_out")


def _mover(goals: dict[str, str]) -> Any:
    """Return the operation that changes the states of `goals`, and refuses the others."""
    refusals = {
        "reserved": "not_granted",
        "redeemed": "already_redeemed",
        "suspended": "reservation_suspended",
        "released": "reservation_expired",
    }

    def move(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
        campaign, reservation = request["campaign"], request["reservation"]
        _enter(database, campaign)
        found = _row(database, "select * from reservations where campaign = ? and id = ?", campaign, reservation)
        if found is None:
            raise Refused("unknown_reservation", status=NOT_FOUND)
        if found["state"] not in goals:
            raise Refused(refusals[found["state"]])
        goal = goals[found["state"]]
        if found["state"] == "suspended" and goal == "granted" and found["claimed"]:
            goal = "claimed"
        until = time.time() + request.get("hold_s", 0) if goal == "reserved" else None
        database.execute(
            "update reservations set state = ?, until = ?, claimed = claimed or ? where campaign = ? and id = ?",
            (goal, until, goal == "claimed", campaign, reservation),
        )
        return _shown(database, campaign, reservation)

    return move


def stock(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Count the reservations of each reward."""
    campaign = request["campaign"]
    _enter(database, campaign)
    items = []
    for key, name, quantity, per_user in database.execute(
        "select key, name, quantity, per_user from rewards where campaign = ? order by rank", (campaign,)
    ).fetchall():
        sql = "select state, count(*) from reservations where campaign = ? and reward = ? group by state"
        counts = dict(database.execute(sql, (campaign, key)).fetchall())
        states = {state: counts.get(state, 0) for state in ("reserved", "granted", "claimed", "redeemed", "suspended")}
        if quantity or any(states.values()):
            items.append({"key": key, "name": name, "quantity": quantity, "per_user": per_user, **states})
    return {"campaign": campaign, "rewards": items}


STAY = {state: state for state in ("granted", "claimed", "redeemed")}
ACTS = {
    "open": open_inventory,
    "reserve": reserve,
    "stock": stock,
    "extend": _mover({"reserved": "reserved", **STAY}),
    "grant": _mover({"reserved": "granted", **STAY}),
    "claim": _mover({"granted": "claimed", "claimed": "claimed", "redeemed": "redeemed"}),
    "redeem": _mover({"granted": "redeemed", "claimed": "redeemed"}),
    "suspend": _mover({"granted": "suspended", "claimed": "suspended", "suspended": "suspended"}),
    "reinstate": _mover({"suspended": "granted", **STAY}),
    "release": _mover(dict.fromkeys(("reserved", "granted", "claimed", "suspended", "released"), "released")),
}

if __name__ == "__main__":
    main(ACTS, SCHEMA)
