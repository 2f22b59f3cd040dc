"""Commands for dead letters: list, show and run (replay)."""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from scripts.commands.replay.tables import cell, print_json, print_lines, table, when
from scripts.devstack.api import Api, Refused
from scripts.devstack.progress import SetupError

DEAD_JOBS = "/api/v1/dead-jobs"
PAGE = 100

Output = tuple[Any, Iterator[str]]


def list_groups(given: argparse.Namespace, api: Api) -> Output:
    """`list`: the groups of dead letters, and the paused actors."""
    groups = _all(api, f"{DEAD_JOBS}/groups", **_conditions(given))
    paused = [actor for actor in api.call("GET", "/api/v1/actors")["items"] if actor["paused"]]
    return {"groups": groups, "paused": paused}, _group_lines(groups, paused)


def _all(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = api.call("GET", path, limit=PAGE, cursor=cursor, **query)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def _conditions(given: argparse.Namespace) -> dict[str, Any]:
    asked = {"actor": given.actor, "brand_id": given.brand, "from": given.since, "to": given.until}
    return {name: value for name, value in asked.items() if value is not None}


def _group_lines(groups: list[dict[str, Any]], paused: list[dict[str, Any]]) -> Iterator[str]:
    if groups:
        names = ("count", "actor", "error", "place", "brands", "first", "last", "group")
        yield from table(names, (_group_row(group) for group in groups))
    count = sum(group["count"] for group in groups)
    yield f"{count:,} dead letter{'' if count == 1 else 's'} in {len(groups):,} group{'' if len(groups) == 1 else 's'}"
    for actor in paused:
        pause = actor["paused"]
        by = pause["by_email"] or pause["by"]
        since = when(pause["since"])
        yield f"{actor['name']} is paused since {since} by {by}: {pause['reason']} ({actor['waiting']:,} wait)"


def _group_row(group: dict[str, Any]) -> tuple[Any, ...]:
    cause = group["error"]
    error = f"{cause['kind']}: {cause['message']}"
    place = cause["where"][-1] if cause["where"] else ""
    times = (when(group["first_at"]), when(group["last_at"]))
    return (group["count"], group["actor"], error, place, group["brands"], *times, group["fingerprint"])


def show(given: argparse.Namespace, api: Api) -> Output:
    """`show`: a job, dead or not, or the dead letters of a group."""
    if not _is_id(given.id):
        dead_letters = _all(api, DEAD_JOBS, fingerprint=given.id)
        return dead_letters, _dead_letter_lines(dead_letters)
    try:
        job = api.call("GET", f"{DEAD_JOBS}/{given.id}")
    except Refused as refused:
        if refused.status != 404:
            raise
        job = api.call("GET", f"/api/v1/jobs/{given.id}")
    return job, _fields(job)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _fields(job: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, job))
    for name, value in job.items():
        if value is not None:
            yield f"{name.ljust(width)}  {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _dead_letter_lines(dead_letters: list[dict[str, Any]]) -> Iterator[str]:
    names = ("died at", "actor", "id", "brand", "subject", "attempts", "error")
    yield from table(names, (_dead_letter_row(job) for job in dead_letters))


def _dead_letter_row(job: dict[str, Any]) -> tuple[Any, ...]:
    about = f"{job['subject_type'] or ''} {job['subject_id'] or ''}"
    error = f"{job['error']['kind']}: {job['error']['message']}"
    at = when(job["died_at"])
    return (at, job["actor"], job["id"], job["brand_id"], about, job["attempts"], error)


def run(given: argparse.Namespace, api: Api, ask: Callable[[str], str] | None) -> int:
    """`run`: show the expected result, ask for confirmation, and replay in batches. Return the exit status.

    Raises:
        SetupError: there is neither a terminal to ask at nor `--yes`.
    """
    asked = {"ids": given.ids or None, "fingerprint": given.group, **_conditions(given)}
    asked |= {"args": given.args, "rate": given.rate}
    body = {name: value for name, value in asked.items() if value is not None}
    forecast = api.call("POST", f"{DEAD_JOBS}/replay", body | {"dry_run": True})
    if not given.json:
        print_lines("\n".join(_forecast_lines(forecast, given.rate)))
    if given.dry_run or not forecast["matching"]:
        if given.json:
            print_json(forecast)
        return 0
    if not given.yes:
        if ask is None:
            raise SetupError("Nothing was replayed: pass --yes, or confirm at a terminal")
        if ask("Replay? [y/N] ").strip().lower() not in ("y", "yes"):
            print_lines("Nothing was replayed")
            return 1
    _report(given, _replay(api, body))
    return 0


def _forecast_lines(forecast: dict[str, Any], rate: float | None) -> Iterator[str]:
    if not forecast["matching"]:
        yield "No dead letter matches"
        return
    yield from _dead_letter_lines(forecast["sample"])
    count = forecast["matching"]
    more = count - len(forecast["sample"])
    if more > 0:
        yield f"… and {more:,} more"
    rate_text = f", {rate:g} per second: {(count - forecast['blocked']) / rate:,.0f} s" if rate else ", all at once"
    yield f"{count - forecast['blocked']:,} would be replayed{rate_text}"
    if forecast["blocked"]:
        yield f"{forecast['blocked']:,} would stay dead: other jobs have their unique keys"


def _replay(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Replay all batches and return the totals."""
    total: dict[str, Any] = {"replayed": 0, "blocked_by": [], "last_due_at": None}
    cursor = None
    while True:
        done = api.call("POST", f"{DEAD_JOBS}/replay", body | ({"cursor": cursor} if cursor else {}))
        total["replayed"] += done["replayed"]
        total["blocked_by"] += done["blocked_by"]
        total["last_due_at"] = done["last_due_at"] or total["last_due_at"]
        cursor = done["next_cursor"]
        if cursor is None:
            return total


def _report(given: argparse.Namespace, total: dict[str, Any]) -> None:
    if given.json:
        print_json(total)
        return
    last = f"; the last is due at {when(total['last_due_at'])} UTC" if given.rate and total["last_due_at"] else ""
    print_lines(f"{total['replayed']:,} wait again{last}")
    for blocked in total["blocked_by"]:
        print_lines(f"{cell(blocked['id'])} stays dead: job {blocked['held_by']} has its unique key")
