"""Calls of `bench segments`: `python -m scripts.commands.bench.segment_calls prepare|compute|measure [JSON]`."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg2

from models.audiences import (
    compiler,
    contact_list,
    dsl,
    membership,
    membership_history,
    preview,
    recomputation,
    segments,
)
from models.audiences.contact_list import Conditions
from models.campaigns import campaigns
from models.campaigns.config import Config
from models.core import context
from models.core.database import now, rows, transaction
from models.identity import sessions
from scripts.commands.bench.stage import CONFIG, identity_of, signed_in
from settings import settings

HANDWRITTEN = Path(__file__).with_name("handwritten")
PAGE = 50
DEPTHS = 40
"""Pages of each list, spread over its whole length."""
TIMEOUT = 600.0

Json = dict[str, Any]


def _profile(field: str, op: str, value: Any = None) -> Json:
    return {"profile": {"field": field, "op": op} | ({} if value is None else {"value": value})}


def _event(kind: str, op: str = "gte", n: int = 1, window: Json | None = None) -> Json:
    return {"event": {"kind": kind, "count": {"op": op, "n": n}} | ({"window": window} if window else {})}


def _last(days: int) -> Json:
    return {"last": {"n": days}}


def definitions(today: date) -> dict[str, Json]:
    """Return the definitions of the handwritten queries by their name."""
    long_ago, lately = (str(today - timedelta(days=days)) for days in (120, 60))
    lat, lon = 40.4154, -3.7074
    return {
        "regulars": {
            "all": [
                _profile("country", "in", ["ES", "PT"]),
                _event("scan", n=2, window=_last(30)),
                {"not": {"consent": {"tier": "marketing", "state": "withdrawn"}}},
            ]
        },
        "spenders": {
            "all": [
                _profile("tags", "in", ["tag3"]),
                _profile("properties.spend", "gte", 800),
                _profile("locale", "eq", "es-ES"),
            ]
        },
        "lapsed": {
            "all": [
                _profile("country", "eq", "ES"),
                _event("scan", window={"from": long_ago, "to": lately}),
                _event("reward_redeemed", "eq", 0),
            ]
        },
        "nearby": {
            "all": [
                {"geo": {"lat": lat, "lon": lon, "radius_m": 20000}},
                _profile("birth_date", "lt", "1990-01-01"),
                {"not": _profile("opted_out_at", "is_set")},
            ]
        },
        "buyers": {
            "all": [
                {"trait": {"name": "genre", "op": "eq", "value": "flamenco"}},
                {"any": [{"campaign": {"campaign_id": _campaign(7)}}, _event("conversion", window=_last(90))]},
            ]
        },
    }


def _campaign(number: int) -> str:
    with transaction(context.for_system_job()):
        (found,) = rows("SELECT md5('campaign' || %s)::uuid AS id", (str(number),))
    return str(found["id"])


def varied(number: int) -> Json:
    """Return a definition of three leaves; no two numbers below 1,000 give the same."""
    leaves = [
        _profile("country", "in", [("ES", "PT", "FR", "IT")[number % 4]]),
        _event(("scan", "survey", "conversion")[number % 3], n=1 + number % 2, window=_last(10 + number % 300)),
        {"consent": {"tier": "marketing", "state": ("granted", "expired", "never")[number % 3]}},
        _profile("properties.spend", ("gte", "lt")[number % 2], 10 + number),
        {"geo": {"lat": 38 + number % 5, "lon": -4.0, "radius_m": 10_000 + 100 * number}},
        {"not": _profile("tags", "in", [f"tag{number % 20}"])},
        {"trait": {"name": "genre", "op": "in", "value": ["pop", "rock", "jazz"][: 1 + number % 3]}},
        _event("reward_redeemed", "eq", 0, window=_last(5 + number % 200)),
    ]
    chosen = [leaves[(number + step) % len(leaves)] for step in (0, 1 + number % 3, 4 + number % 2)]
    return {("all", "any")[number % 5 == 0]: chosen}


def prepare() -> Json:
    """Create the brand, its admin and a campaign."""
    with transaction(identity_of(signed_in().access_token)):
        made = campaigns.create(name="Bench", kind="QR", config=msgspec.convert(CONFIG, Config))
    return {"brand": str(made.brand_id), "campaign": str(made.id)}


def compute(data: Json) -> Json:
    """Create the segments, and compute their members."""
    brand_id = UUID(data["brand"])
    wanted = {**definitions(now().date()), "surveyed": _event("survey")}
    ids = {}
    for name, definition in wanted.items():
        with transaction(_member()):
            ids[name] = segments.create(name=name, definition=dsl.load(definition)).id
    for segment_id in ids.values():
        _compute(brand_id, segment_id)
    return {"lag_segment": str(ids["surveyed"]), "segments": len(ids)}


def _compute(brand_id: UUID, segment_id: UUID) -> None:
    membership.EVALUATION_LIMIT = TIMEOUT  # The first pages come from the disk.
    identity = context.for_brand_job(brand_id)
    with transaction(identity, timeout=TIMEOUT):
        run = recomputation.begin(brand_id, segment_id)
    assert run is not None
    after: UUID | None = None
    while True:
        with transaction(identity, timeout=TIMEOUT):
            step = recomputation.step(brand_id, segment_id, after)
            assert step is not None
            if step.is_last:
                recomputation.finish(segment_id, run)
                return
        after = step.last


def _member() -> context.Identity:
    return identity_of(sessions.sign_in("ana@brand.example", "correct horse battery", "bench").access_token)


def measure(data: Json) -> Json:
    """Time previews, evaluations and pages."""
    member, brand_id = _member(), UUID(data["brand"])
    previews, share = _previews(member, data["previews"])
    evaluations, plans = _evaluations(brand_id, data["rounds"])
    pages = _pages(member, UUID(data["lag_segment"]))
    ratios = [one["ratio"] for one in evaluations.values()]
    numbers = {
        "preview_p50_ms": round(statistics.median(previews), 1),
        "preview_p95_ms": round(_p95(previews), 1),
        "sampled_share": round(share, 4),
        "ratio_handwritten": round(statistics.median(ratios), 3),
        "ratio_handwritten_max": round(max(ratios), 3),
        "page_p95_ms": round(max(pages.values()), 1),
        "segments": data["segments"],
    }
    return {"numbers": numbers, "evaluations": evaluations, "pages": pages, "plans": plans}


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[18]


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    times.append((time.perf_counter() - begun) * 1000)


def _previews(member: context.Identity, count: int) -> tuple[list[float], float]:
    times: list[float] = []
    share = 1.0
    for number in range(count):
        definition = dsl.load(varied(number))
        with _timed(times), transaction(member, timeout=TIMEOUT):
            found = preview.of_definition(definition)
        share = 1.0 if found.exact else preview.SAMPLE / found.contacts
    return times, share


def _evaluations(brand_id: UUID, rounds: int) -> tuple[dict[str, Json], dict[str, str]]:
    """Evaluate each definition and the SQL beside it in turns, and compare the ids."""
    found: dict[str, Json] = {}
    plans: dict[str, str] = {}
    job = context.for_brand_job(brand_id)
    today = now().date()
    with closing(psycopg2.connect(settings.database_direct_url)) as db:
        db.autocommit = True
        for name, definition in definitions(today).items():
            by_hand = _BY_HAND.format((HANDWRITTEN / f"{name}.sql").read_text())
            with transaction(job):
                node = dsl.load(definition)
                compiled = compiler.compile(node, segments.context_of(node, brand_id))
            times: tuple[list[float], list[float]] = ([], [])
            arguments = {"brand": str(brand_id), "today": today}
            for _ in range(rounds):
                with transaction(job, timeout=TIMEOUT), _timed(times[0]):
                    (ours,) = rows(_SIGNATURE.format(compiled.sql), compiled.arguments)
                with db.cursor() as cursor, _timed(times[1]):
                    cursor.execute(_SIGNATURE.format(by_hand), arguments)
                    theirs = cursor.fetchone()
            assert (ours["n"], ours["signature"]) == theirs, f"{name}: other contacts than by hand: {ours}, {theirs}"
            compiled_ms, by_hand_ms = (statistics.median(one) for one in times)
            found[name] = {
                "n": ours["n"],
                "compiled": compiled_ms,
                "by_hand": by_hand_ms,
                "ratio": compiled_ms / by_hand_ms,
            }
            with transaction(job, timeout=TIMEOUT):
                plans[name] = _plan(rows(_EXPLAIN + compiled.sql, compiled.arguments))
            with db.cursor() as cursor:
                cursor.execute(_EXPLAIN + by_hand, arguments)
                plans[f"{name} by hand"] = "\n".join(line for (line,) in cursor.fetchall())
    return found, plans


_BY_HAND = "SELECT id AS contact_id FROM ({}) found"
_SIGNATURE = "SELECT count(*) AS n, bit_xor(uuid_hash_extended(contact_id, 0)) AS signature FROM ({}) members"
_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS) "


def _plan(lines: list[Json]) -> str:
    return "\n".join(str(line["QUERY PLAN"]) for line in lines)


def _pages(member: context.Identity, segment_id: UUID) -> dict[str, float]:
    """Return the p95 in ms of pages in the beginning, the middle and at the end of each list."""
    lists: dict[str, Conditions] = {
        "": Conditions(),
        " with a tag": Conditions(tags=["tag3"]),
        " of a segment": Conditions(segment_id=segment_id),
        " with a property": Conditions(properties={"vip": True}),
        " with a word": Conditions(text="beg person.1"),
    }
    found = {}
    for sort in ("-created_at", "name", "-last_seen_at"):
        for name, conditions in lists.items():
            read = lambda after, s=sort, c=conditions: contact_list.find(limit=PAGE, after=after, sort=s, conditions=c)  # noqa: E731
            with transaction(member, timeout=TIMEOUT):
                keys = _depths(sort)
            found[f"contacts by {sort}{name}"] = _p95(_times(member, read, keys))
    keys = [UUID(int=n * (1 << 128) // DEPTHS) for n in range(DEPTHS)]
    read_members = lambda after: membership_history.members(segment_id, limit=PAGE, after=after)  # noqa: E731
    found["members of a segment"] = _p95(_times(member, read_members, keys))
    return found


def _depths(sort: str) -> list[Any]:
    """Return sort keys of contacts that are spread over the whole list."""
    name = sort.removeprefix("-")
    sample = rows(
        "SELECT c.* FROM public.contacts c WHERE c.brand_id = (SELECT app.brand_for('contacts:read'))"
        " AND c.merged_into IS NULL AND c.bucket < 3 ORDER BY c.bucket LIMIT 2000"
    )
    ordered = sorted(sample, key=lambda one: str(one[name]))
    chosen = [ordered[n * len(ordered) // DEPTHS] for n in range(min(DEPTHS, len(ordered)))]
    return [None, *(contact_list.key_of(sort, _Fields(one)) for one in chosen)]  # type: ignore[arg-type]


class _Fields:
    """The columns of a row as attributes."""

    def __init__(self, values: Json) -> None:
        self.__dict__.update(values)


def _times(member: context.Identity, read: Callable[[Any], object], keys: list[Any]) -> list[float]:
    times: list[float] = []
    for key in keys:
        with transaction(member, timeout=TIMEOUT), _timed(times):
            read(key)
    return times


CALLS: dict[str, Callable[..., Json]] = {"prepare": prepare, "compute": compute, "measure": measure}

if __name__ == "__main__":
    name, *given = sys.argv[1:]
    print(json.dumps(CALLS[name](*map(json.loads, given))))
