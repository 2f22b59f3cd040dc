"""A random population of contacts for tests of segments, and its place in the database."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection
from psycopg2.extras import execute_values

NOTICE = UUID("0197a000-0000-7000-8000-000000000001")
ZONE = "America/New_York"
AS_OF = datetime(2026, 3, 31, 2, 0, tzinfo=UTC)
"""22:00 on 30 March in `ZONE`, and four days before the clock changes there is 27 March."""
TODAY = date(2026, 3, 30)
CAMPAIGNS = tuple(UUID(int=number) for number in (1, 2, 3))
PROPERTIES = {
    "plan": "text",
    "score": "number",
    "vip": "boolean",
    "joined": "date",
    "seen": "datetime",
    "likes": "list",
}
TRAITS = ("genre", "team")
NOW = datetime.now(UTC)
"""Consents are in force by the clock of the database."""


_DEFAULTS: dict[str, Any] = dict.fromkeys(("country", "city", "birth_date", "first_seen_at", "lat", "lon")) | {
    "created_at": AS_OF,
    "tags": [],
}
"""Columns of contacts that people have, with their values if a person sets none."""


@dataclass
class Person:
    """A contact with everything that segments read."""

    id: UUID
    user_id: UUID | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    merged_into: UUID | None = None
    activity: list[tuple[str, UUID, date, int]] = field(default_factory=list)
    traits: list[tuple[str, str, datetime, datetime]] = field(default_factory=list)
    consents: list[tuple[str, datetime | None, datetime]] = field(default_factory=list)


def generate(size: int, seed: int) -> list[Person]:
    """Return random contacts, some of them merged into the first ones."""
    rng = random.Random(seed)
    people = [_person(rng) for _ in range(size)]
    for person in people[-(size // 8) :]:
        person.merged_into = people[rng.randrange(size // 4)].id
        person.activity = []
    return people


def _person(rng: random.Random) -> Person:
    uuid = lambda: UUID(int=rng.getrandbits(128), version=4)  # noqa: E731
    day = lambda: TODAY - timedelta(days=rng.randrange(-2, 70))  # noqa: E731
    moment = lambda: AS_OF - timedelta(minutes=rng.randrange(-2000, 90_000))  # noqa: E731
    position = (rng.uniform(40, 40.6), rng.uniform(-4, -3.4)) if rng.random() < 0.7 else (None, None)
    some = lambda *values: rng.choice((None, *values))  # noqa: E731
    columns = {
        "country": some("ES", "PT", "FR"),
        "city": some("Madrid", "madrid norte", "Lisboa", ""),
        "birth_date": some(day(), TODAY),
        "created_at": moment(),
        "first_seen_at": some(moment(), AS_OF),
        "tags": rng.sample(["vip", "press", "crew"], rng.randrange(3)),
        "lat": position[0],
        "lon": position[1],
    }
    columns["city"] = columns["city"] or None
    values = {
        "plan": [None, "", "null", "pro", 5],
        "score": [None, 0, -2, 2.5, 10, "10"],
        "vip": [None, True, False, "true"],
        "joined": [None, day().isoformat(), TODAY.isoformat()],
        "seen": [None, moment().isoformat().replace("+00:00", "Z")],
        "likes": [None, [], ["rock"], ["rock", "jazz"]],
    }
    return Person(
        id=uuid(),
        user_id=uuid() if rng.random() < 0.7 else None,
        columns=columns,
        properties={key: rng.choice(found) for key, found in values.items() if rng.random() < 0.8},
        activity=list(
            {
                (kind, campaign, day): (kind, campaign, day, rng.randrange(1, 4))
                for kind, campaign, day in (
                    (rng.choice(("scan", "survey")), rng.choice(CAMPAIGNS), day()) for _ in range(rng.randrange(6))
                )
            }.values()
        ),
        traits=[
            (name, rng.choice(("rock", "Jazz")), moment(), AS_OF + timedelta(hours=rng.choice((-1, 1))))
            for name in TRAITS
            if rng.random() < 0.6
        ],
        consents=[
            (tier, rng.choice((None, NOW - timedelta(days=3), expires)), expires)
            for tier in ("marketing", "analytics")
            if rng.random() < 0.7
            for expires in (NOW + timedelta(days=rng.choice((-2, 5))),)
        ],
    )


def store(superuser: connection, brand_id: UUID, people: list[Person]) -> None:
    """Insert people as the contacts of a brand, without triggers and references."""
    with superuser.cursor() as cursor:
        cursor.execute("begin; set local session_replication_role = replica")
        cursor.execute("update brands set settings = %s where id = %s", (json.dumps({"timezone": ZONE}), brand_id))
        _insert(
            cursor,
            "contact_properties (brand_id, key, type, label)",
            [(brand_id, key, kind, key) for key, kind in PROPERTIES.items()],
        )
        names = sorted(_DEFAULTS)
        _insert(
            cursor,
            f"contacts (id, brand_id, user_id, merged_into, properties, {', '.join(names)})",
            [
                (
                    p.id,
                    brand_id,
                    p.user_id,
                    p.merged_into,
                    json.dumps(p.properties),
                    *(p.columns.get(n, _DEFAULTS[n]) for n in names),
                )
                for p in people
            ],
        )
        _insert(
            cursor,
            "contact_activity (brand_id, contact_id, event, campaign_id, day, n)",
            [(brand_id, p.id, *one) for p in people for one in p.activity],
        )
        _insert(
            cursor,
            "fan_traits (brand_id, user_id, name, value, observed_at, usable_until)",
            [(brand_id, p.user_id, *one) for p in people if p.user_id for one in p.traits],
        )
        _insert(
            cursor,
            "consents (user_id, consent_tier, revoked_at, expires_at, brand_id, notice_id, locale)",
            [
                (p.user_id, *one, brand_id if p.id.int % 2 else None, NOTICE, "en")
                for p in people
                if p.user_id
                for one in p.consents
            ],
        )
        cursor.execute("commit")


def _insert(cursor: Any, target: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        execute_values(cursor, f"insert into public.{target} values %s", rows)
